"""Parts timed on their own: each width once, parts of no units take no time, inner parts count once."""

import pytest

from prune_ssl import trace
from prune_ssl.profiling import alone, measure_table, parts, table
from prune_ssl.runtimes.opening import Opened
from prune_ssl.selection import Conditions
from prune_ssl.selection.latency import LatencyCost
from tests.support.models import tiny_model

AT = Conditions(seconds=0.2, runtime="onnx-int8")


@pytest.fixture
def ticking(monkeypatch):
    """A runtime whose calls take one tick for each weight of the module, and 10,000 for the whole model."""
    ticks, opened = [0], []

    def tick(weights):
        ticks[0] += weights

    def open_module(module, given, runtime, threads, any_length):
        opened.append(module)
        weights = sum(parameter.numel() for parameter in module.parameters())
        return lambda feeds: tick(weights)

    monkeypatch.setattr(alone, "open_model", lambda *given: Opened(lambda: tick(10_000)))
    monkeypatch.setattr(alone, "open_module", open_module)
    monkeypatch.setattr(alone, "clock_of", lambda at: lambda: ticks[0])
    monkeypatch.setattr(table, "CONV_POINTS", dict.fromkeys(table.CONV_POINTS, 3))
    monkeypatch.setattr(parts, "POINTS", 5)
    return opened


@pytest.mark.parametrize("family", ["hubert", "sew-d"])
def test_a_table_of_parts_alone_adds_up_to_the_dense_model(family, ticking):
    model = tiny_model(family, head="Model", conv_dim=(32,) * 7, intermediate_size=64)
    graph = trace(model)
    found = measure_table(model, graph, AT)
    assert (found.runtime, found.dense_ns, found.where) == ("onnx-int8", 10_000, "onnx-int8 on cpu")
    cost = LatencyCost(found, graph)
    assert cost.value(graph.widths()) == pytest.approx(10_000, abs=20)
    for segment in found.segments:
        assert (segment.times_ns[0] == 0) == (segment.grid[-1][0] == 0)
        assert segment.times_ns[-1] > 0
    assert len(ticking) < 60  # modules of equal shape are opened once
    assert cost.marginal("layer.0.ffn", graph.widths()) > 0
