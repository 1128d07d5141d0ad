"""Points of the solver's search: every step costs what the model of those widths costs."""

import pytest
import torch

from prune_ssl import trace
from prune_ssl.selection import KINDS, bounds_of
from prune_ssl.selection.steps import Point, Problem, worth
from tests.support.models import tiny_model


@pytest.fixture(scope="module")
def graph():
    torch.manual_seed(0)
    return trace(tiny_model())


def problem_of(graph, layout="hetero"):
    generator = torch.Generator().manual_seed(2)
    scores = {name: torch.rand(group.size, generator=generator) for name, group in graph.groups.items()}
    return Problem(graph, scores, bounds_of(graph, "macs=70%,params=80%", 4, KINDS, layout, 1.0))


@pytest.mark.parametrize("layout", ["hetero", "stock"])
def test_costs_follow_any_walk_exactly(graph, layout):
    problem, generator = problem_of(graph, layout), torch.Generator().manual_seed(3)
    point = Point(problem, problem.whole())
    names = list(problem.moves)
    for _ in range(60):
        name = names[int(torch.randint(len(names), (), generator=generator))]
        by = int(torch.randint(-2, 3, (), generator=generator))
        step, total = point.step(name, by), point.total()
        if step is None:
            assert not 0 <= point.at[name] + by < len(problem.widths[name])
            continue
        point.move(name, by, step[1])
        assert point.costs == [limit.cost.value(point.widths) for limit in problem.limits]
        assert abs(point.total() - total) == pytest.approx(step[0], abs=1e-9)


def test_a_copy_moves_apart(graph):
    problem = problem_of(graph)
    point = Point(problem, problem.whole())
    other = point.copy()
    name = next(name for name in problem.moves if point.step(name, -1) is not None)
    other.move(name, -1, other.step(name, -1)[1])
    assert point.widths == graph.widths()
    assert other.widths[name] < point.widths[name]
    assert point.costs == [limit.cost.value(point.widths) for limit in problem.limits]


def test_starts_are_the_whole_model_and_each_kind_at_its_minimum(graph):
    problem = problem_of(graph)
    whole, *others = problem.starts()
    assert whole == problem.whole()
    free = {graph.groups[name].kind for name, index in whole.items() if index}
    assert len(others) == len(free) > 4
    for start in others:
        lowered = {graph.groups[name].kind for name in start if start[name] != whole[name]}
        assert len(lowered) == 1


def test_tied_groups_start_from_their_mean(graph):
    problem = problem_of(graph, "stock")
    (tie,) = [names for names in problem.moves.values() if len(names) > 1]
    start = graph.widths() | {tie[0]: 0}
    nearest = problem.nearest(start)
    assert len({nearest[name] for name in tie}) == 1
    mean = sum(start[name] for name in tie) / len(tie)
    options = problem.widths[tie[0]]
    assert abs(options[nearest[tie[0]]] - mean) == min(abs(width - mean) for width in options)


def test_the_worth_of_a_width_has_diminishing_returns(graph):
    group = graph.groups["layer.0.ffn"]
    widths = [0, group.size // 2, group.size]
    found = worth(group, torch.ones(group.size), widths)
    assert found.tolist() == [0.0, group.size, 1.5 * group.size]
