"""What is measured of a model: costs, size on disk and times, without changing it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from prune_ssl.artifacts import save_pretrained
from prune_ssl.errors import ArtifactError, ModelError, PruneError
from prune_ssl.measuring import Timing, measure, measured_size_bytes
from prune_ssl.models import load_model
from prune_ssl.reporting import report
from prune_ssl.resizing import resize
from prune_ssl.tracing import Traced, trace, traced
from tests.support.models import tiny_model

QUICK = Timing(seconds=0.1, threads=1, min_iterations=3, min_seconds=0.0)


def test_numbers_stand_for_lists_of_one_and_lengths_of_measure_for_those_of_the_timing() -> None:
    assert (Timing(seconds=2, threads=3).lengths, Timing(threads=3).thread_counts()) == ((2.0,), (3,))
    assert Timing.of(None) == Timing()
    assert Timing.of(QUICK, [1, 2]) == replace(QUICK, seconds=(1, 2))
    found = measure(tiny_model(), seconds=(0.1, 0.2), timing=QUICK, with_latency=False)
    assert set(found.macs) == {0.1, 0.2}


def test_a_model_with_its_graph_is_not_traced_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    traced_model = Traced(model, trace(model))
    monkeypatch.setattr(traced, "trace", lambda *_: pytest.fail("traced again"))
    assert set(measure(traced_model, 0.1, with_latency=False).macs) == {0.1}
    assert report(traced_model, traced_model, with_latency=False).data.baseline is not None
    with pytest.raises(ModelError, match="not the one that was traced"):
        Traced(tiny_model(intermediate_size=8), traced_model.graph)


def test_measure_agrees_with_the_graph_and_the_file() -> None:
    model = tiny_model()
    found = measure(model, (0.5, 1.0), timing=QUICK)
    graph = trace(model)
    assert found.params == sum(parameter.numel() for parameter in model.parameters())
    assert found.macs == {length: graph.cost(seconds=length).macs for length in (0.5, 1.0)}
    assert [each.seconds for each in found.latency] == [0.5, 1.0]
    assert found.size_bytes is not None
    assert found.size_bytes > 4 * found.params


def test_measure_without_latency_runs_no_forward_pass() -> None:
    model = tiny_model()
    model.register_forward_pre_hook(lambda *_: pytest.fail("the model was run"))
    found = measure(model, with_latency=False)
    assert found.latency == []
    assert found.peak_memory_bytes is None
    assert set(found.macs) == {1.0, 5.0, 10.0}


def test_a_resized_model_measures_smaller() -> None:
    model = tiny_model()
    graph = trace(model)
    small = resize(model, graph, {name: range(group.size // 2) for name, group in graph.groups.items()})
    before, after = (measure(each, 1.0, with_latency=False) for each in (model, small))
    assert after.params < before.params
    assert after.macs[1.0] < before.macs[1.0]
    assert (after.size_bytes or 0) < (before.size_bytes or 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_size_of_a_loaded_model_is_that_of_the_file_that_it_came_from(tmp_path: Path, dtype) -> None:
    save_pretrained(tiny_model(), tmp_path / "model", dtype=dtype)
    model = load_model(tmp_path / "model")
    assert next(model.parameters()).dtype == torch.float32  # it computes so
    small = resize(model, trace(model), {"layer.0.ffn": range(3)})
    again = save_pretrained(small, tmp_path / "small")
    for each, folder in ((model, tmp_path / "model"), (small, again)):
        assert measured_size_bytes(each) == measured_size_bytes(folder)


def test_size_on_disk_is_that_of_the_saved_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    model = tiny_model()
    save_pretrained(model, folder)
    file = folder / "model.safetensors"
    assert measured_size_bytes(folder) == file.stat().st_size
    assert measured_size_bytes(model) == file.stat().st_size
    assert sum(value.nbytes for value in load_file(file).values()) <= file.stat().st_size
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match=r"no \*\.safetensors file in .*empty"):
        measured_size_bytes(tmp_path / "empty")


def test_measuring_something_else_than_a_speech_model_is_refused() -> None:
    with pytest.raises(PruneError):
        measure(nn.Linear(2, 2), 1.0, timing=QUICK)
