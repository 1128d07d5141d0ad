"""Measuring: what is timed, counted and claimed, and that it changes nothing of model or process."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from prune_ssl.artifacts import save_pretrained
from prune_ssl.errors import ArtifactError, MeasuringError, ModelError, PruneError
from prune_ssl.measuring import (
    Latency,
    Timing,
    bench_table,
    benchmark_models,
    describe_environment,
    measure,
    measure_interleaved,
    measured_size_bytes,
    speed_up,
    write_rows,
)
from prune_ssl.measuring.memory import peak_memory_bytes
from prune_ssl.reporting import report
from prune_ssl.resizing import resize
from prune_ssl.tracing import Traced, trace, traced
from tests.support.models import tiny_model

QUICK = Timing(seconds=0.1, threads=1, min_iterations=3, min_seconds=0.0)


class Recorder(nn.Module):
    """Writes its name into a shared list at each call, and notes mode, gradients, threads and input."""

    def __init__(self, name: str, calls: list[str]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.name, self.calls = name, calls
        self.seen: list[tuple[bool, bool, int, tuple[int, ...]]] = []

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        self.calls.append(self.name)
        modes = (self.training, torch.is_inference_mode_enabled(), torch.get_num_threads())
        self.seen.append((*modes, tuple(waveform.shape)))
        return waveform * self.weight


def latency(median: float, spread: float = 0.0, n: int = 50, repeats: tuple[float, ...] = ()) -> Latency:
    return Latency(median, median - spread, median + spread, n, threads=1, seconds=2.0, repeats_ms=repeats)


def test_rtf_is_compute_time_over_audio_time_and_rtfx_its_inverse() -> None:
    assert latency(500.0).rtf == 0.25
    assert latency(500.0).rtfx == 4.0


def test_models_are_timed_in_turns_in_eval_and_inference_mode_on_the_same_input() -> None:
    calls: list[str] = []
    models = {name: Recorder(name, calls) for name in "ab"}
    before = torch.get_num_threads()
    timing = Timing(seconds=0.5, threads=2, min_iterations=4, min_seconds=0.0)
    found = measure_interleaved(models, timing)
    assert "".join(calls[-8:]) == "abbaabba"
    assert [each.n for each in found["a"] + found["b"]] == [4, 4]
    for model in models.values():
        assert {seen[0] for seen in model.seen} == {False}
        assert {seen[1] for seen in model.seen} == {True}
        assert model.seen[-1][2:] == (2, (1, 8000))
    assert torch.get_num_threads() == before


def test_every_length_and_thread_count_is_measured_once() -> None:
    timing = replace(QUICK, seconds=[0.1, 0.2], threads=[1, 2])
    found = measure_interleaved({"a": Recorder("a", [])}, timing)["a"]
    assert [(each.seconds, each.threads) for each in found] == [(0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2)]
    for each in found:
        assert each.p10_ms <= each.median_ms <= each.p90_ms
        assert len(each.repeats_ms) == 3


def test_a_slow_model_stops_at_the_time_limit_and_says_so() -> None:
    timing = replace(QUICK, min_iterations=10**9, max_seconds=0.02)
    found = measure_interleaved({"a": Recorder("a", [])}, timing)
    assert 1 <= found["a"][0].n < 10**9


def test_measuring_leaves_modes_of_submodules_weights_and_random_state_as_they_were() -> None:
    model = tiny_model().train()
    model.hubert.feature_extractor.eval()  # a frozen frontend inside a model in training
    modes = {name: module.training for name, module in model.named_modules()}
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    random_state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    measure(model, timing=replace(QUICK, threads=2))
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert torch.get_num_threads() == threads


def test_a_model_that_fails_is_named_with_the_shape_and_its_modes_come_back() -> None:
    model = nn.Linear(3, 3).train()
    with pytest.raises(
        ModelError, match=r"'odd' \(Linear\) failed on a waveform of shape \(1, 8000\) \(0\.5 s"
    ):
        measure_interleaved({"odd": model}, replace(QUICK, seconds=0.5))
    assert model.training


@pytest.mark.parametrize(
    ("name", "given"),
    [
        *(("seconds", each) for each in ([], -1.0, 0, float("nan"), "10", None, [1.0, 0.0])),
        *(("threads", each) for each in (0, [], [1, 0], 1.5, "1", True)),
        *(("min_iterations", each) for each in (0, 2.5, None)),
        *(("min_seconds", each) for each in (-1.0, float("inf"))),
        *(("max_seconds", each) for each in (0.0, -1.0)),
    ],
    ids=str,
)
def test_senseless_timings_are_refused_when_made(name: str, given: object) -> None:
    with pytest.raises(MeasuringError, match=rf"^{name}: found .*, wanted ") as caught:
        Timing(**{name: given})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


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


def test_a_clear_gain_is_claimed_as_the_ratio_of_medians() -> None:
    found = speed_up(latency(100.0, repeats=(99.0, 100.0, 104.0)), latency(50.0, repeats=(50.0, 50.0, 50.0)))
    assert str(found) == "2.00x"
    assert (found.low, found.high) == (1.98, 2.08)


def test_a_gain_smaller_than_what_repeats_differ_by_is_refused() -> None:
    found = speed_up(latency(100.0, repeats=(90.0, 100.0, 120.0)), latency(90.0, repeats=(90.0, 90.0, 90.0)))
    assert found.within_noise
    assert str(found) == "within noise"


def test_without_repeats_the_percentiles_decide() -> None:
    assert not speed_up(latency(100.0, spread=5.0), latency(50.0, spread=2.0)).within_noise
    assert speed_up(latency(100.0, spread=40.0), latency(50.0, spread=20.0)).within_noise


def test_a_few_calls_claim_nothing() -> None:
    assert speed_up(latency(100.0, n=8), latency(50.0)).within_noise
    assert not speed_up(latency(100.0, n=9), latency(50.0)).within_noise


def test_a_model_is_no_faster_than_itself() -> None:
    assert speed_up(latency(100.0), latency(100.0)).within_noise


def test_latencies_of_different_conditions_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same conditions"):
        speed_up(latency(100.0), replace(latency(50.0), threads=2))


def test_measure_agrees_with_the_graph_and_the_file() -> None:
    model = tiny_model()
    found = measure(model, (0.5, 1.0), timing=QUICK)
    graph = trace(model)
    assert found.params == sum(parameter.numel() for parameter in model.parameters())
    assert found.macs == {length: graph.cost(seconds=length).macs for length in (0.5, 1.0)}
    assert [each.seconds for each in found.latency] == [0.5, 1.0]
    assert found.size_bytes is not None
    assert found.size_bytes > 4 * found.params


def test_models_of_different_dtypes_are_not_timed_against_each_other() -> None:
    models = {"dense": tiny_model(), "pruned": tiny_model().bfloat16()}
    with pytest.raises(ModelError, match=r"dense: cpu, torch.float32; pruned: cpu, torch.bfloat16"):
        measure_interleaved(models, QUICK)


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


def test_size_on_disk_is_that_of_the_saved_folder(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    model = tiny_model()
    save_pretrained(model, folder)
    file = folder / "model.safetensors"
    assert measured_size_bytes(folder) == file.stat().st_size
    assert measured_size_bytes(model) == pytest.approx(file.stat().st_size, abs=1024)  # headers may differ
    assert sum(value.nbytes for value in load_file(file).values()) <= file.stat().st_size
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match=r"no \*\.safetensors file in .*empty"):
        measured_size_bytes(tmp_path / "empty")


class Hungry(nn.Module):
    """Needs 4 bytes x 64 Mi for a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return torch.ones(64 * 2**20).sum() + waveform.sum()


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="needs Linux's resettable high-water mark"
)
def test_peak_memory_sees_a_large_buffer_even_after_a_larger_one() -> None:
    torch.ones(128 * 2**20).sum()  # an earlier peak of the process
    found = peak_memory_bytes(Hungry(), 0.1)
    if found is None:
        pytest.skip("this system can't reset the high-water mark")
    assert found == pytest.approx(4 * 64 * 2**20, rel=0.1)


def test_the_environment_names_machine_versions_and_number_type() -> None:
    found = describe_environment(tiny_model())
    assert {"cpu", "cores", "os", "python", "torch", "transformers", "threads", "dtype", "device"} <= set(
        found
    )
    assert found["dtype"] == "float32"
    assert found["torch"] == torch.__version__
    assert all(isinstance(value, str) and value for value in found.values())


def test_a_benchmark_gives_rows_and_one_reason_for_each_model_that_fails(tmp_path: Path) -> None:
    dense = tiny_model()
    graph = trace(dense)
    save_pretrained(dense, tmp_path / "dense")
    small = resize(dense, graph, {name: range(group.size // 2) for name, group in graph.groups.items()})
    save_pretrained(small, tmp_path / "small")
    names = [str(tmp_path / "dense"), "arch:nothing", str(tmp_path / "small")]
    rows = benchmark_models(names, QUICK)
    first, second, failed = rows
    assert (first.params, first.macs) == (graph.cost().params, graph.cost(seconds=0.1).macs)
    assert first.speed_up == first.macs_ratio == 1.0
    assert second.macs_ratio is not None
    assert second.macs_ratio > 1.0
    assert "no such architecture" in failed.problem
    assert bench_table(rows).row_count == 2

    content = json.loads(write_rows(rows, tmp_path / "rows.json").read_text())
    assert content["rows"][0]["macs"] == first.macs
    assert content["environment"]["torch"] == torch.__version__
    with write_rows(rows, tmp_path / "rows.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["model"] for row in read] == [names[0], names[2], names[1]]
    with pytest.raises(ArtifactError, match=r"wanted \.json or \.csv"):
        write_rows(rows, tmp_path / "rows.txt")


def test_measuring_something_else_than_a_speech_model_is_refused() -> None:
    with pytest.raises(PruneError):
        measure(nn.Linear(2, 2), 1.0, timing=QUICK)
