"""Latency budgets: tables interpolate between what was measured, and what they choose fits."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prune_ssl import PruningConfig, attach_gates, select, trace
from prune_ssl.errors import BudgetError
from prune_ssl.profiling.parts import _rising
from prune_ssl.selection import UNIT_KINDS, Bounds, allowed_widths, parse_budget, resolve, solve
from prune_ssl.selection.latency import LatencyCost, LatencyTable, Segment
from tests.support.models import tiny_model
from tests.support.tables import fake_table


def test_a_table_interpolates_between_what_was_measured():
    graph = trace(tiny_model())
    times = {"conv.0": (2, 12), "conv.1": (5, 10)}
    table = LatencyTable(
        {},
        "cpu",
        1,
        1.0,
        "float32",
        0,
        7,
        (
            Segment("a", tuple(times), tuple(times.values()), (100, 200, 300, 600)),
            Segment("b", ("layer.0.ffn",), ((0, 8, 24),), (0, 80, 100), ("layer.1.heads",)),
        ),
    )
    cost = LatencyCost(table, graph)
    widths = {**graph.widths(), "conv.0": 7, "conv.1": 6, "layer.0.ffn": 12, "layer.1.heads": 1}
    middle = 0.5 * (100 + 0.2 * 100) + 0.5 * (300 + 0.2 * 300)
    assert cost.value(widths) == 7 + round(middle) + 85
    tensor = torch.tensor([float(width) for width in widths.values()], requires_grad=True)
    expected = cost.expected(tensor)
    assert float(expected.detach()) == pytest.approx(7 + middle + 85)
    expected.backward()
    slopes = dict(zip(widths, tensor.grad, strict=True))
    assert float(slopes["layer.0.ffn"]) == pytest.approx(20 / 16)
    assert float(slopes["conv.0"]) == pytest.approx((0.8 * 200 + 0.2 * 400) / 10)
    assert float(slopes["layer.1.heads"]) == pytest.approx(85)
    assert cost.change("conv.0", 2, widths) == cost.value({**widths, "conv.0": 2}) - cost.value(widths)
    assert cost.coupled("conv.0") == {"conv.0", "conv.1"}
    assert cost.marginal("layer.1.heads", widths) == 85
    assert cost.marginal("layer.0.heads", widths) == 0
    assert cost.coupled("layer.0.ffn") == {"layer.0.ffn", "layer.1.heads"}
    assert LatencyTable.from_json(table.to_json()) == table


@given(seed=st.integers(0, 10_000))
def test_expected_and_exact_latency_agree_at_whole_widths(seed):
    graph = trace_once()
    cost = LatencyCost(fake_table(graph), graph)
    generator = torch.Generator().manual_seed(seed)
    widths = {
        name: int(torch.randint(group.minimum, group.size + 1, (), generator=generator))
        for name, group in graph.groups.items()
    }
    expected = cost.expected(torch.tensor([float(width) for width in widths.values()]))
    assert float(expected) == pytest.approx(cost.value(widths), abs=len(graph.groups))


_TRACED: list = []


def trace_once():
    if not _TRACED:
        _TRACED.append(trace(tiny_model()))
    return _TRACED[0]


def test_widths_that_are_no_faster_than_a_wider_one_are_not_used():
    graph = trace(tiny_model())
    flat = Segment("f", ("layer.0.ffn",), ((0, 8, 16, 20, 24),), (0, 90, 90, 95, 100))
    cost = LatencyCost(LatencyTable({}, "cpu", 1, 1.0, "float32", 0, 0, (flat,)), graph)
    widths = allowed_widths(graph, 4)
    assert widths["layer.0.ffn"] == [0, 4, 8, 12, 16, 20, 24]
    assert cost.worthwhile(widths) == {**widths, "layer.0.ffn": [0, 16, 20, 24]}


@pytest.mark.parametrize("percent", [80, 60, 40])
def test_a_latency_budget_is_met_by_the_table_and_no_usable_step_fits(percent):
    model = tiny_model()
    graph = trace(model)
    (constraint,) = parse_budget(f"latency={percent}%")
    budget = (type(constraint)("latency", fraction=percent / 100, table=fake_table(graph)),)
    keep = select(model, graph, budget, round_to=1)
    widths = allowed_widths(graph, 1)
    (limit,) = resolve(budget, graph, widths, 1.0)
    found = graph.widths(keep)
    assert limit.cost.value(found) <= limit.maximum
    for name, options in limit.cost.worthwhile(widths).items():
        above = [width for width in options if width > found[name]]
        if above:
            assert limit.cost.value({**found, name: above[0]}) > limit.maximum
    gates = attach_gates(model, graph, PruningConfig(budget=budget, round_to=1, steps=10))
    gates.penalty(5).backward()
    assert float(gates.log_alpha.grad.abs().sum()) > 0
    assert limit.cost.value(graph.widths(gates.finalize(untrained=True).keep)) <= limit.maximum


@pytest.mark.parametrize(("section", "other"), [("frontend", "layer."), ("encoder", "conv.")])
def test_a_latency_of_a_section_counts_and_cuts_its_modules_alone(section, other):
    model, graph = tiny_model(), trace_once()
    (constraint,) = parse_budget(f"{section}.latency=60%@cpu,seconds=1")
    assert str(constraint) == f"{section}.latency=60%@cpu,threads=1,seconds=1"
    table = fake_table(graph)
    budget = (replace(constraint, table=table),)
    (limit,) = resolve(budget, graph, allowed_widths(graph, 1), 1.0)
    inside = [part for part in table.segments if not part.name.startswith(other)]
    assert limit.dense == sum(part.at(graph.widths()) for part in inside)
    keep = select(model, graph, budget, round_to=1)
    assert keep
    assert not any(name.startswith(other) for name in keep)
    assert limit.cost.value(graph.widths(keep)) <= limit.maximum


def noisy_table(graph, generator):
    """Products of widths with noise, made to rise as measured times are: with plateaus."""
    segments = []
    for name, group in graph.groups.items():
        if group.kind == "conv":
            before = f"conv.{int(name.split('.')[1]) - 1}"
            axes = (before, name) if before in graph.groups else (name,)
        elif group.kind in UNIT_KINDS:
            axes = (name,)
        else:
            continue
        grid = tuple(
            tuple(range(graph.groups[axis].minimum, graph.groups[axis].size + 1, 2)) for axis in axes
        )
        grid = tuple(
            each if each[-1] == graph.groups[axis].size else (*each, graph.groups[axis].size)
            for each, axis in zip(grid, axes, strict=True)
        )
        times = np.prod(np.meshgrid(*grid, indexing="ij"), axis=0) * 100.0
        times *= 1 + 0.25 * generator.standard_normal(times.shape)
        for axis in range(times.ndim):
            times = _rising(times, axis)
        flat = tuple(round(max(float(each), 1.0)) for each in times.ravel())
        segments.append(Segment(name, axes, grid, flat))
    table = LatencyTable({"cpu": "none"}, "cpu", 1, 1.0, "float32", 0, 100, tuple(segments))
    dense = LatencyCost(table, graph).value(graph.widths())
    return replace(table, dense_ns=dense)


@pytest.mark.parametrize("seed", range(20))
def test_near_its_floor_a_noisy_latency_budget_is_met_too(seed):
    generator = np.random.default_rng(seed)
    graph = trace_once()
    table, widths = noisy_table(graph, generator), allowed_widths(graph, 1)
    cost = LatencyCost(table, graph)
    floor = cost.value({name: options[0] for name, options in widths.items()})
    scores = {name: torch.tensor(generator.random(group.size)) for name, group in graph.groups.items()}
    (constraint,) = parse_budget("latency=50%")
    for room in (1.0, 1.02, 1.05):
        budget = (replace(constraint, fraction=None, absolute=round(floor * room), table=table),)
        limits = resolve(budget, graph, widths, 1.0)
        for start in (None, graph.widths()):
            found = graph.widths(solve(graph, scores, Bounds(limits, widths), start))
            assert limits[0].cost.value(found) <= limits[0].maximum


def test_a_latency_budget_without_a_table_says_how_to_get_one():
    model = tiny_model()
    with pytest.raises(BudgetError, match=r"prune_ssl\.with_latency\(model, graph, budget"):
        select(model, trace(model), "latency=50%")
    with pytest.raises(BudgetError, match="not a latency table"):
        LatencyTable.from_json("{}")


def test_a_cost_that_falls_with_width_does_not_confuse_the_solver():
    model = tiny_model()
    graph = trace(model)
    odd = Segment("f", ("layer.0.ffn",), ((0, 8, 16, 24),), (0, 300, 100, 400))
    more = Segment("g", ("layer.1.ffn",), ((0, 8, 16, 24),), (0, 100, 200, 300))
    table = LatencyTable({}, "cpu", 1, 1.0, "float32", 0, 50, (odd, more))
    (constraint,) = parse_budget("latency=60%")
    budget = (type(constraint)("latency", fraction=0.6, table=table),)
    widths = allowed_widths(graph, 8)
    limits = resolve(budget, graph, widths, 1.0)
    scores = {name: torch.ones(group.size) for name, group in graph.groups.items()}
    found = graph.widths(solve(graph, scores, Bounds(limits, widths)))
    assert limits[0].cost.value(found) <= limits[0].maximum == 450
    assert (found["layer.0.ffn"], found["layer.1.ffn"]) == (16, 24)
