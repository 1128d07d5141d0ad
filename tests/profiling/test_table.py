"""Latency tables: measured on every grid point, kept on disk, and true of the models that they describe."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

import prune_ssl
from prune_ssl import select, trace, with_latency
from prune_ssl.errors import BudgetError
from prune_ssl.profiling import measure_table, parts, table, within
from prune_ssl.selection import UNIT_KINDS, Conditions, allowed_widths, resolve
from prune_ssl.selection.latency import LatencyCost, LatencyTable
from tests.support.models import tiny_model
from tests.support.tables import fake_table

AT = Conditions(seconds=0.5)


@pytest.fixture(autouse=True)
def _few_points(monkeypatch):
    monkeypatch.setattr(table, "CONV_POINTS", dict.fromkeys(table.CONV_POINTS, 3))
    monkeypatch.setattr(parts, "POINTS", 5)


class Operations(TorchDispatchMode):
    """Counts the floating point operations of products and convolutions, and one for each other result."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func not in flop_registry:  # in inference mode a convolution comes as a whole
            with self:
                made = func.decompose(*args, **(kwargs or {}))
            if made is not NotImplemented:
                return made
        made = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        self.total += count(*args, **(kwargs or {}), out_val=made) if count else 1
        return made


@pytest.fixture
def counted_time(monkeypatch):
    """A clock that shows the operations so far: the same on every machine, however busy."""
    plain, operations = within.Subject.times, Operations()

    def times(subject, calls):
        with operations:
            return plain(subject, calls)

    monkeypatch.setattr(within.Subject, "times", times)
    monkeypatch.setattr(within.Clock, "__call__", lambda clock: operations.total)


@pytest.fixture
def model():
    return tiny_model(conv_dim=(32,) * 7, intermediate_size=64)


def test_a_table_has_every_group_and_pair_of_widths_and_adds_up_to_the_dense_model(model, counted_time):
    graph = trace(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    found = measure_table(model, graph, AT)
    units = {name for name, group in graph.groups.items() if group.kind in UNIT_KINDS}
    assert {segment.name for segment in found.segments} == units
    by_name = {segment.name: segment for segment in found.segments}
    assert set(by_name["layer.1.ffn"].factors) == {"layer.1.feed_forward", "layer.1"}
    for segment in found.segments:
        size = 1
        for axis, grid in zip(segment.axes, segment.grid, strict=True):
            assert (grid[-1], list(grid)) == (graph.groups[axis].size, sorted(set(grid)))
            assert grid[0] == (8 if axis.startswith("conv") else 0)
            size *= len(grid)
        assert len(segment.times_ns) == size
        assert min(segment.times_ns) >= 0
        assert max(segment.times_ns) > 0
    cost = LatencyCost(found, graph)
    assert cost.value(graph.widths()) == pytest.approx(found.dense_ns, rel=0.01)
    assert torch.equal(torch.get_rng_state(), random)
    assert not model._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_wider_modules_take_longer_in_the_table(counted_time):
    wide = tiny_model(conv_dim=(256,) * 3 + (32,) * 4)
    found = measure_table(wide, trace(wide), AT)
    for name in ("conv.1", "conv.2"):
        (segment,) = (each for each in found.segments if each.name == name)
        assert segment.times_ns[-1] > 2 * segment.times_ns[0]


def test_a_table_is_measured_once_and_then_read(model, tmp_path):
    graph, said = trace(model), []
    budget = with_latency(model, graph, "latency=95%,seconds=0.5,macs=90%", cache=tmp_path, say=said.append)
    assert len(said) == 1
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]
    again = with_latency(model, graph, "latency=60%", seconds=0.5, cache=tmp_path, say=said.append)
    assert len(said) == 1
    assert again[0].table == budget[0].table
    other = with_latency(model, graph, "latency=60%", seconds=0.25, cache=tmp_path, say=said.append)
    assert len(said) == 2
    assert other[0].table.seconds == 0.25
    assert with_latency(model, graph, "macs=50%") == prune_ssl.selection.parse_budget("macs=50%")
    keep = select(model, graph, budget, round_to=8, seconds=0.5)
    latency, macs = resolve(budget, graph, allowed_widths(graph), 0.5)
    for limit in (latency, macs):
        assert limit.cost.value(graph.widths(keep)) <= limit.maximum


@pytest.mark.parametrize("family", ["hubert", "wavlm", "sew-d", "wav2vec2-conformer"])
def test_no_time_counts_twice(family):
    """Parts may lie within others: SEW-D's neurons have no module around them but their layer."""
    model = tiny_model(family, head="Model")
    graph = trace(model)
    subject = within.Subject(model, parts.parts_of(graph, 3), AT)
    whole, own = subject.times(3)
    subject.release()
    assert min(own) > 0
    assert sum(own) <= whole


def test_layers_of_one_shape_share_what_was_measured(model):
    found = measure_table(model, trace(model), AT)
    ffn = [segment.times_ns for segment in found.segments if segment.name.endswith(".ffn")]
    assert len(ffn) > 1
    assert len(set(ffn)) == 1


def test_noise_in_a_table_is_evened_out_both_ways():
    noisy = np.array([1.0, 5.0, 3.0, 4.0, 6.0])
    assert parts._rising(noisy, 0).tolist() == [1.0, 4.0, 4.0, 4.5, 6.0]
    square = np.random.default_rng(0).random((5, 7))
    both = parts._rising(parts._rising(square, 0), 1)
    assert (np.diff(both, axis=0) >= 0).all()
    assert (np.diff(both, axis=1) >= 0).all()


def test_a_device_that_is_not_there_or_a_missing_length_is_refused(model, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BudgetError, match="no CUDA device"):
        measure_table(model, trace(model), dataclasses.replace(AT, device="cuda"))
    with pytest.raises(BudgetError, match="no CUDA device"):
        with_latency(model, trace(model), "latency=50%@cuda")
    with pytest.raises(BudgetError, match="needs an audio length"):
        measure_table(model, trace(model), Conditions())
    with torch.device("meta"):
        empty = type(model)(model.config)
    with pytest.raises(BudgetError, match="without weights"):
        with_latency(empty, trace(empty), "latency=50%")


def test_models_whose_parameters_have_the_same_shapes_have_tables_of_their_own(tmp_path, monkeypatch):
    """Heads and strides leave no trace in the shapes."""
    measured = []

    def measure(model, graph, at):
        measured.append(model)
        return LatencyTable({}, at.device, at.threads, at.seconds, at.dtype, 10, 10, ())

    monkeypatch.setattr(table, "measure_table", measure)
    for more in (
        {},
        {"num_attention_heads": 2},
        {"conv_stride": (5, 2, 2, 2, 2, 2, 1)},
        {"hidden_act": "relu"},
    ):
        model = tiny_model(**more)
        with_latency(model, trace(model), "latency=60%", seconds=0.5, cache=tmp_path)
    assert len(measured) == 4
    labelled = tiny_model(num_labels=3)
    with_latency(labelled, trace(labelled), "latency=60%", seconds=0.5, cache=tmp_path)
    same = tiny_model(num_labels=3, id2label={0: "a", 1: "b", 2: "c"})
    with_latency(same, trace(same), "latency=60%", seconds=0.5, cache=tmp_path)
    assert len(measured) == 5


# -- the cache is only a cache


def a_file(folder):
    (folder / "file").write_text("")
    return folder / "file" / "cache"


@pytest.mark.parametrize("make", [a_file, lambda folder: Path("/proc/self/cache")])
def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch, make):
    measured = []
    monkeypatch.setattr(table, "measure_table", counted(measured))
    model, said = tiny_model(num_labels=2), []
    place = make(tmp_path)
    first = with_latency(model, trace(model), "latency=60%", seconds=0.5, cache=place, say=said.append)
    again = with_latency(model, trace(model), "latency=60%", seconds=0.5, cache=place, say=said.append)
    assert len(measured) == 1  # a second table would differ
    assert first == again
    assert [line for line in said if "is kept for this process only" in line] == said[1:]


def counted(measured):
    def measure(model, graph, at):
        measured.append(1)
        return fake_table(graph, slope=1000 * len(measured))

    return measure


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"5", b"{}", b"\xff\xfe\x00", b'{"version": -1}', b'{"segments": 3}', None]
)
def test_a_damaged_table_is_measured_anew(tmp_path, monkeypatch, content):
    model, said, measured = tiny_model(num_labels=2), [], []
    monkeypatch.setattr(table, "measure_table", counted(measured))
    with_latency(model, trace(model), "latency=60%", seconds=0.5, cache=tmp_path)
    (file,) = tmp_path.iterdir()
    file.unlink()
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    found = with_latency(model, trace(model), "latency=60%", seconds=0.5, cache=tmp_path, say=said.append)
    assert len(measured) == 2
    assert found[0].table is not None
    if content is not None:
        assert "cannot be read, so the table is measured again" in said[0]
        again = with_latency(model, trace(model), "latency=60%", seconds=0.5, cache=tmp_path)
        assert again == found
        assert len(measured) == 2


def test_a_user_without_a_home_has_a_cache_all_the_same(monkeypatch):
    monkeypatch.delenv("PRUNE_SSL_CACHE", raising=False)
    monkeypatch.setattr(Path, "expanduser", lambda path: (_ for _ in ()).throw(RuntimeError("no home")))
    assert table._cache_folder().name == "prune_ssl"
