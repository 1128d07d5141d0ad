"""The solver: makes a keep from scores of units; it meets every limit and leaves no room unused."""

from collections.abc import Mapping

import torch

from prune_ssl.errors import BudgetError
from prune_ssl.selection.limits import Bounds
from prune_ssl.selection.steps import Down, Indices, Point, Problem, Up
from prune_ssl.tracing import PruningGraph

FORCED_STEPS = (-1, 1, -2, 2)
"""Local search tries each of these steps on one group and repairs the others."""
LEAST_GAIN = 1e-9
"""A smaller gain, relative to the total, is rounding; a search that took it could go round in circles."""


def solve(
    graph: PruningGraph,
    scores: Mapping[str, torch.Tensor],
    bounds: Bounds,
    start: Mapping[str, int] | None = None,
    improve: bool = True,
) -> dict[str, tuple[int, ...]]:
    """Choose the best-scored units within every limit, so that no allowed step up would fit.

    The problem is a knapsack over groups, and the cost is a product of widths. The search is greedy on worth
    lost per cost saved. From `start` (default: everything) it lowers widths until every limit holds. Then it
    raises widths, best worth per cost first, while anything fits. At last it forces single groups a step or
    two up or down, repairs the others greedily, and takes each outcome that keeps more worth. The result is
    never over a limit. The tests enumerate small problems to see how near it is to the optimum.

    Args:
        graph: the traced model.
        scores: group -> (units,) scores, non-negative, comparable across groups.
        bounds: limits, allowed widths and ties. The smallest widths must meet the limits; `resolve` checks
            that.
        start: group -> width to start from, such as expected gate counts; it is rounded to an allowed width.
        improve: False stops after the greedy part, which stays near `start`.

    Returns:
        A keep that names every group that lost a unit.

    Raises:
        BudgetError: not even the smallest widths meet the limits.
    """
    problem = Problem(graph, scores, bounds)
    if start is not None:
        starts = [problem.nearest(start)]
    else:
        starts = list(problem.starts()) if improve else [problem.whole()]
    ends = [_solved_from(problem, each, improve) for each in starts]
    # On a measured cost the way down can end above a limit that only the smallest widths meet.
    met = [end for end in ends if not end.violated()] or [_solved_from(problem, problem.least(), improve)]
    best = max(met, key=Point.total)
    if best.violated():
        raise BudgetError(
            "the budget is below the cost of the least allowed widths: raise it, or allow more kinds, a "
            "smaller round_to or layout 'hetero'."
        )
    return {
        name: tuple(sorted(int(unit) for unit in problem.order[name][: best.widths[name]]))
        for name, group in graph.groups.items()
        if best.widths[name] < group.size
    }


def _solved_from(problem: Problem, start: Indices, improve: bool) -> Point:
    point = Point(problem, start)
    _lower_until_met(point)
    _raise_while_fits(point)
    return _improved(point) if improve else point


def _lower_until_met(point: Point, but: str = "") -> bool:
    """Lower widths of all groups except `but` until every limit holds; return whether that was possible."""
    names = [name for name in point.problem.moves if name != but]
    while point.violated():
        best: tuple[str, Down] | None = None
        for name in names:
            down = point.down(name)
            if down is not None and (best is None or down.lost < best[1].lost):
                best = name, down
        if best is None:
            return False
        point.move(best[0], best[1].by, best[1].changes)
    return True


def _raise_while_fits(point: Point, but: str = "") -> None:
    """Raise widths of all groups except `but`, best worth per cost first, while anything fits."""
    names = [name for name in point.problem.moves if name != but]
    while True:
        best: tuple[str, Up] | None = None
        for name in names:
            up = point.up(name)
            better = up is not None and (best is None or up.gained > best[1].gained)
            if up is not None and better and point.fits(up.changes):
                best = name, up
        if best is None:
            return
        point.move(best[0], +1, best[1].changes)


def _improved(point: Point) -> Point:
    """Force one group a few steps and repair the others; repeat while an outcome is worth more."""
    found: Point | None = point
    while found is not None:
        found = None
        for name in point.problem.moves:
            for by in FORCED_STEPS:
                found = _forced(point, name, by) or found
                point = found or point
    return point


def _forced(point: Point, name: str, by: int) -> Point | None:
    """Return the repaired point after a forced step of one group if it is worth more; else None."""
    step = point.step(name, by)
    if step is None:
        return None
    made = point.copy()
    made.move(name, by, step[1])
    if not _lower_until_met(made, but=name):
        return None
    _raise_while_fits(made, but=name)
    _raise_while_fits(made)
    return made if made.total() > point.total() * (1 + LEAST_GAIN) else None
