"""The solver: from scores of units to a keep that meets every limit exactly and leaves no room unused."""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy

import numpy as np
import torch
from numpy.typing import NDArray

from prune_ssl.errors import BudgetError
from prune_ssl.selection.budget import Limit
from prune_ssl.selection.stock import Layout, stock_widths
from prune_ssl.tracing import Group, PruningGraph

UNIT_KINDS = ("conv", "heads", "ffn")  # what is pruned by default
KINDS = (*UNIT_KINDS, "hidden", "head_dim", "block", "layer")
ROUNDED_KINDS = ("conv", "ffn", "head_dim")  # heads are whole by nature
ASIDE = (-1, 1, -2, 2)  # steps that the improvement forces on one group at a time
LEAST_GAIN = 1e-9  # relative; below it a gain is rounding, and taking it could go round in circles


def allowed_widths(
    graph: PruningGraph,
    round_to: int = 8,
    kinds: Sequence[str] | None = None,
    layout: Layout = "hetero",
) -> dict[str, list[int]]:
    """Return the widths that each group may end with, smallest first.

    Widths of convolutions, FFNs and heads' dimensions are multiples of `round_to`, or the full width; zero
    where a group may empty. A kind that is not in `kinds` (None: `UNIT_KINDS`) keeps its full width, and so
    does what layout `stock` cannot say.

    Raises:
        BudgetError: a kind that is none of `KINDS`.
    """
    prunable = UNIT_KINDS if kinds is None else check_kinds(kinds)
    widths = {
        name: _widths_of(group, round_to) if group.kind in prunable else [group.size]
        for name, group in graph.groups.items()
    }
    return stock_widths(graph, widths) if layout == "stock" else widths


def check_kinds(kinds: Sequence[str]) -> Sequence[str]:
    """Return `kinds`; raise BudgetError where they are none or not of `KINDS`."""
    if not kinds or set(kinds) - set(KINDS):
        raise BudgetError(f"kinds: found {list(kinds)}, wanted some of {', '.join(KINDS)}.")
    return kinds


def _widths_of(group: Group, round_to: int) -> list[int]:
    step = round_to if group.kind in ROUNDED_KINDS else 1
    widths = {width for width in range(0, group.size + 1, step) if width >= group.minimum}
    return sorted(widths | {group.size})


def solve(
    graph: PruningGraph,
    scores: Mapping[str, torch.Tensor],
    limits: Sequence[Limit],
    widths: Mapping[str, Sequence[int]],
    start: Mapping[str, int] | None = None,
    improve: bool = True,
    ties: Sequence[Sequence[str]] = (),
) -> dict[str, tuple[int, ...]]:
    """Choose the units to keep: the best-scored ones, within every limit, no allowed step up still fitting.

    A knapsack over groups whose cost is a product of widths. Greedy on worth lost per cost saved: from
    `start` (default: everything) it lowers widths until every limit holds, then raises widths, best worth per
    cost first, while anything fits. Then single groups are forced a step or two up or down, the others
    repaired greedily, and what keeps more worth is taken, until nothing does. The result is never over a
    limit; tests/selection/test_solver.py measures how near to the optimum it is where that can be enumerated.

    Args:
        graph: the traced model.
        scores: group -> (units,) scores, non-negative, comparable across groups.
        limits: resolved budget; the floor of `widths` must meet it (`resolve` checks that).
        widths: group -> allowed widths, ascending.
        start: group -> width to start from (rounded to an allowed one), such as expected gate counts.
        improve: False stops after the greedy part, which stays near `start`.
        ties: groups that must end with the same width; they have the same allowed widths.

    Returns:
        A keep that names every group that lost a unit.

    Raises:
        BudgetError: not even the least widths meet the limits.
    """
    search = _Search(graph, scores, limits, widths, ties)
    widths = search.allowed
    starts = [search.nearest(start)] if start is not None or not improve else list(_starts(graph, widths))
    ends = [search.run(each, improve) for each in starts]
    # On a measured cost the way down can end above a limit that only the least widths meet.
    met = [end for end in ends if not end.violated()] or [search.run(dict.fromkeys(widths, 0), improve)]
    best = max(met, key=_Search.total)
    if best.violated():
        raise BudgetError(
            "the budget is below what the least allowed widths cost: raise it, or allow more kinds, a "
            "smaller round_to or layout 'hetero'."
        )
    return best.keep()


def _starts(graph: PruningGraph, widths: Mapping[str, Sequence[int]]) -> Iterator[dict[str, int]]:
    """Yield all, then all but one kind at its least: ways into optima that single groups cannot reach."""
    full = {name: len(options) - 1 for name, options in widths.items()}
    yield full
    free = dict.fromkeys(graph.groups[name].kind for name, index in full.items() if index)
    for kind in free:
        yield {name: 0 if graph.groups[name].kind == kind else index for name, index in full.items()}


def worth(group: Group, scores: torch.Tensor, widths: Sequence[int]) -> NDArray[np.float64]:
    """Return what the solver maximises the sum of: the worth of each allowed width, (widths,).

    Keeping a step from width a to b is worth the scores of its units times size / b: diminishing returns. A
    unit of a group that is nearly empty is worth more than its score says. Without this, layers between two
    convolutions collapse first, because each makes the other's channels cheap.
    """
    ranked = np.sort(scores.detach().double().cpu().numpy())[::-1]
    kept = np.concatenate([[0.0], np.cumsum(ranked)])[list(widths)]
    return np.concatenate([[0.0], np.cumsum(np.diff(kept) * group.size / np.asarray(widths[1:]))])


def usable_widths(limits: Sequence[Limit], widths: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """Return those of the allowed widths that every limit finds worth ending with."""
    usable = {name: list(options) for name, options in widths.items()}
    for limit in limits:
        usable = limit.polynomial.usable(usable)
    return usable


def _shared(widths: dict[str, list[int]], ties: Sequence[Sequence[str]]) -> dict[str, list[int]]:
    """Leave tied groups the widths that all of them may have."""
    for tie in ties:
        common = set.intersection(*(set(widths[name]) for name in tie))
        widths |= {name: [width for width in widths[name] if width in common] for name in tie}
    return widths


class _Search:
    """State of one solve: an index into the allowed widths for each group, and the cost under each limit."""

    def __init__(
        self,
        graph: PruningGraph,
        scores: Mapping[str, torch.Tensor],
        limits: Sequence[Limit],
        widths: Mapping[str, Sequence[int]],
        ties: Sequence[Sequence[str]] = (),
    ) -> None:
        self.graph, self.limits = graph, limits
        self.allowed = _shared(usable_widths(limits, widths), ties)
        widths = self.allowed
        leaders = {name: tie[0] for tie in ties for name in tie}
        self.leader = {name: leaders.get(name, name) for name in graph.groups}
        # What moves together: groups by the first of them.
        self.moves: dict[str, list[str]] = {}
        for name, leader in self.leader.items():
            self.moves.setdefault(leader, []).append(name)
        self.order = {
            name: np.argsort(-scores[name].detach().double().cpu().numpy(), kind="stable")
            for name in graph.groups
        }
        self.worth = {name: worth(group, scores[name], widths[name]) for name, group in graph.groups.items()}
        self.coupled = {
            name: set().union(*(limit.polynomial.coupled(name) for limit in limits)) for name in graph.groups
        }
        self._begin({name: len(options) - 1 for name, options in widths.items()})

    def _begin(self, at: Mapping[str, int]) -> None:
        self.at = dict(at)
        self.now = {name: self.allowed[name][index] for name, index in self.at.items()}
        self.values = [limit.polynomial.value(self.now) for limit in self.limits]
        # Steps cost the same until a coupled group moves: most are looked up, by the first group that moves.
        self.steps: dict[str, dict[int, tuple[float, list[int]] | None]] = {}

    def nearest(self, start: Mapping[str, int] | None) -> dict[str, int]:
        """Return the indices of the allowed widths nearest to `start`, or of the greatest."""
        if start is None:
            return {name: len(options) - 1 for name, options in self.allowed.items()}
        return {
            name: min(
                range(len(options)), key=lambda index: abs(options[index] - self._start_of(name, start))
            )
            for name, options in self.allowed.items()
        }

    def _start_of(self, name: str, start: Mapping[str, int]) -> float:
        tied = self.moves[self.leader[name]]
        return sum(start[each] for each in tied) / len(tied)

    def run(self, start: dict[str, int], improve: bool) -> "_Search":
        """Return this search solved from these indices."""
        search = copy(self)
        search._begin(start)
        search.lower_until_met()
        search.raise_while_fits()
        if improve:
            search.improve()
        return search

    def total(self) -> float:
        """Return the worth of what is kept."""
        return float(sum(self.worth[name][index] for name, index in self.at.items()))

    def _step(self, name: str, by: int) -> tuple[float, list[int]] | None:
        """Return (worth, cost change for each limit) of moving groups by steps, or None beyond their end."""
        known = self.steps.setdefault(name, {})
        if by not in known:
            index = self.at[name] + by
            inside = 0 <= index < len(self.allowed[name])
            known[by] = self._step_to(self.moves[name], index) if inside else None
        return known[by]

    def _step_to(self, tied: Sequence[str], index: int) -> tuple[float, list[int]]:
        now, changes, gain = self.now, [0] * len(self.limits), 0.0
        for name in tied:
            width = self.allowed[name][index]
            each = [limit.change(name, width, now) for limit in self.limits]
            changes = [total + change for total, change in zip(changes, each, strict=True)]
            gain += float(self.worth[name][index] - self.worth[name][self.at[name]])
            now = {**now, name: width} if len(tied) > 1 else now  # the next one's change may depend on it
        return abs(gain), changes

    def _move(self, name: str, by: int, changes: Sequence[int]) -> None:
        for each in self.moves[name]:
            self.at[each] += by
            self.now[each] = self.allowed[each][self.at[each]]
            for other in self.coupled[each]:
                self.steps.pop(self.leader[other], None)
        self.values = [value + change for value, change in zip(self.values, changes, strict=True)]

    def _relative(self, changes: Sequence[int], only_violated: bool) -> float:
        """Cost change relative to each limit's dense cost, summed over the limits that matter now.

        A measured cost can fall when a width grows; such a change counts as none.
        """
        return sum(
            max(-change if only_violated else change, 0) / limit.dense
            for change, limit, value in zip(changes, self.limits, self.values, strict=True)
            if not only_violated or value > limit.maximum
        )

    def violated(self) -> bool:
        """Return whether a limit does not hold."""
        return any(value > limit.maximum for value, limit in zip(self.values, self.limits, strict=True))

    def lower_until_met(self, but: str = "") -> bool:
        """Lower widths until every limit holds, leaving group `but` alone; say whether that was possible."""
        while self.violated():
            best: tuple[float, str, int, list[int]] | None = None
            for name in self.moves:
                found = self._saving(name) if name != but else None
                if found is not None and (best is None or found[0] < best[0]):
                    best = (found[0], name, *found[1:])
            if best is None:
                return False
            self._move(*best[1:])
        return True

    def _saving(self, name: str) -> tuple[float, int, list[int]] | None:
        """Return (worth lost per cost saved, step, changes) of the least step down that saves anything.

        A measured cost may stay the same over several steps; where the whole way down saves nothing, no part
        of it does.
        """
        steps = self.at[name]
        if not steps or not (self._saved(name, -1) or self._saved(name, -steps)):
            return None
        by = next(-count for count in range(1, steps + 1) if self._saved(name, -count))
        lost, changes = self._step(name, by) or (0.0, [])
        return lost / self._saved(name, by), by, changes

    def _saved(self, name: str, by: int) -> float:
        step = self._step(name, by)
        return 0.0 if step is None else self._relative(step[1], only_violated=True)

    def raise_while_fits(self, but: str = "") -> None:
        """Raise widths, best worth per cost first, while anything fits, leaving group `but` alone."""
        while True:
            best: tuple[float, str, list[int]] | None = None
            for name in self.moves:
                step = self._step(name, +1) if name != but else None
                if step is None or not self._fits(step[1]):
                    continue
                cost = self._relative(step[1], only_violated=False)
                ratio = step[0] / cost if cost > 0 else float("inf")
                if best is None or ratio > best[0]:
                    best = (ratio, name, step[1])
            if best is None:
                return
            self._move(best[1], +1, best[2])

    def _fits(self, changes: Sequence[int]) -> bool:
        triples = zip(changes, self.limits, self.values, strict=True)
        return all(value + change <= limit.maximum for change, limit, value in triples)

    def improve(self) -> None:
        """Force one group a few steps aside, repair the others, keep what is worth more; until nothing is."""
        improved = True
        while improved:
            improved = False
            for name in self.moves:
                for aside in ASIDE:
                    improved |= self._try(name, aside)

    def _try(self, name: str, aside: int) -> bool:
        step = self._step(name, aside)
        if step is None:
            return False
        total, before = self.total(), (dict(self.at), dict(self.now), self.values, dict(self.steps))
        self._move(name, aside, step[1])
        if self.lower_until_met(but=name):
            self.raise_while_fits(but=name)
            self.raise_while_fits()
            if self.total() > total * (1 + LEAST_GAIN):
                return True
        self.at, self.now, self.values, self.steps = before
        return False

    def keep(self) -> dict[str, tuple[int, ...]]:
        """Return the best-scored units of every group that lost one."""
        return {
            name: tuple(sorted(int(unit) for unit in self.order[name][: self.now[name]]))
            for name, group in self.graph.groups.items()
            if self.now[name] < group.size
        }
