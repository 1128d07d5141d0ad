"""Steps: the data of one solve, and a point of its search with cost and worth of each step from there."""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from prune_ssl.selection.limits import Bounds, Limit
from prune_ssl.tracing import Group, PruningGraph

Indices = dict[str, int]
"""Group -> index into the widths that it may have."""


def worth(group: Group, scores: torch.Tensor, widths: Sequence[int]) -> NDArray[np.float64]:
    """Return the worth of each allowed width, (widths,); the solver maximises its sum over groups.

    Keeping a step from width a to b is worth the scores of its units times size / b: diminishing returns. A
    unit of a group that is nearly empty is worth more than its score says. Without this, layers between two
    convolutions collapse first, because each makes the other's channels cheap.
    """
    ranked = np.sort(scores.detach().double().cpu().numpy())[::-1]
    kept = np.concatenate([[0.0], np.cumsum(ranked)])[list(widths)]
    return np.concatenate([[0.0], np.cumsum(np.diff(kept) * group.size / np.asarray(widths[1:]))])


def worthwhile_widths(bounds: Bounds) -> dict[str, list[int]]:
    """Return the allowed widths that the cost of no limit drops; tied groups get the same widths."""
    widths = {name: list(options) for name, options in bounds.widths.items()}
    for limit in bounds.limits:
        widths = limit.cost.worthwhile(widths)
    for tie in bounds.ties:
        common = set.intersection(*(set(widths[name]) for name in tie))
        widths |= {name: [width for width in widths[name] if width in common] for name in tie}
    return widths


class Problem:
    """The fixed part of a solve: groups that move together, their widths, and the worth of each width."""

    def __init__(self, graph: PruningGraph, scores: Mapping[str, torch.Tensor], bounds: Bounds) -> None:
        self.groups, self.limits = graph.groups, bounds.limits
        self.widths = worthwhile_widths(bounds)
        leaders = {name: tie[0] for tie in bounds.ties for name in tie}
        self.leader = {name: leaders.get(name, name) for name in graph.groups}
        self.moves: dict[str, list[str]] = {}
        """First group of a tie -> all of its groups; a group without a tie moves alone."""
        for name, leader in self.leader.items():
            self.moves.setdefault(leader, []).append(name)
        self.order = {
            name: np.argsort(-scores[name].detach().double().cpu().numpy(), kind="stable")
            for name in graph.groups
        }
        self.worth = {
            name: worth(group, scores[name], self.widths[name]) for name, group in graph.groups.items()
        }
        self.coupled = {
            name: set[str]().union(*(limit.cost.coupled(name) for limit in self.limits))
            for name in graph.groups
        }

    def whole(self) -> Indices:
        """Return the indices at which every group has its greatest width."""
        return {name: len(options) - 1 for name, options in self.widths.items()}

    def least(self) -> Indices:
        """Return the indices at which every group has its smallest width."""
        return dict.fromkeys(self.widths, 0)

    def nearest(self, start: Mapping[str, int]) -> Indices:
        """Return the indices of the widths nearest to `start`; tied groups start from their mean."""
        wanted = {
            name: sum(start[each] for each in tied) / len(tied)
            for tied in self.moves.values()
            for name in tied
        }
        return {
            name: min(range(len(options)), key=lambda index: abs(options[index] - wanted[name]))
            for name, options in self.widths.items()
        }

    def starts(self) -> Iterator[Indices]:
        """Yield start points: everything kept; then, for each kind, that kind at its minimum.

        Some optima cannot be reached by moving one group at a time.
        """
        whole = self.whole()
        yield whole
        free = dict.fromkeys(self.groups[name].kind for name, index in whole.items() if index)
        for kind in free:
            yield {name: 0 if self.groups[name].kind == kind else index for name, index in whole.items()}


class Down(NamedTuple):
    """A step down of one group."""

    lost: float
    """Worth lost per cost saved."""
    by: int
    changes: list[int]
    """The change of each limit's cost."""


class Up(NamedTuple):
    """A step up of one group."""

    gained: float
    """Worth gained per cost added."""
    changes: list[int]
    """The change of each limit's cost."""


class Point:
    """A point of the search: the width of each group, the cost under each limit, and the steps from there."""

    def __init__(self, problem: Problem, at: Mapping[str, int]) -> None:
        self.problem, self.at = problem, dict(at)
        self.widths = {name: problem.widths[name][index] for name, index in self.at.items()}
        self.costs = [limit.cost.value(self.widths) for limit in problem.limits]
        self.broken = self._broken()
        # A step keeps its cost until a coupled group moves, so that most steps are looked up here.
        self.known: dict[str, dict[int, tuple[float, list[int]] | None]] = {}
        self.downs: dict[str, Down | None] = {}
        self.ups: dict[str, Up | None] = {}

    def copy(self) -> "Point":
        """Return a copy of the point that moves on its own."""
        made = copy(self)
        made.at, made.widths, made.known = dict(self.at), dict(self.widths), dict(self.known)
        made.downs, made.ups = dict(self.downs), dict(self.ups)
        return made

    def total(self) -> float:
        """Return the worth of the units that are kept."""
        return float(sum(self.problem.worth[name][index] for name, index in self.at.items()))

    def step(self, name: str, by: int) -> tuple[float, list[int]] | None:
        """Return (worth, cost change for each limit) of a move by steps; None if there is no such width."""
        known = self.known.setdefault(name, {})
        if by not in known:
            index = self.at[name] + by
            inside = 0 <= index < len(self.problem.widths[name])
            known[by] = self._step_to(self.problem.moves[name], index) if inside else None
        return known[by]

    def _step_to(self, tied: Sequence[str], index: int) -> tuple[float, list[int]]:
        problem, now, gain = self.problem, self.widths, 0.0
        changes = [0] * len(problem.limits)
        for name in tied:
            width = problem.widths[name][index]
            each = [limit.cost.change(name, width, now) for limit in problem.limits]
            changes = [total + change for total, change in zip(changes, each, strict=True)]
            gain += float(problem.worth[name][index] - problem.worth[name][self.at[name]])
            now = {**now, name: width} if len(tied) > 1 else now  # the next change may depend on it
        return abs(gain), changes

    def move(self, name: str, by: int, changes: Sequence[int]) -> None:
        """Move a group, with those tied to it, by steps that cost `changes`."""
        problem = self.problem
        for each in problem.moves[name]:
            self.at[each] += by
            self.widths[each] = problem.widths[each][self.at[each]]
            for other in problem.coupled[each]:
                leader = problem.leader[other]
                self.known.pop(leader, None)
                self.downs.pop(leader, None)
                self.ups.pop(leader, None)
        self.costs = [value + change for value, change in zip(self.costs, changes, strict=True)]
        before, self.broken = self.broken, self._broken()
        if self.broken != before:
            self.downs = {}

    def _broken(self) -> tuple[int, ...]:
        """Return the numbers of the limits that do not hold."""
        return tuple(
            number for number, (cost, limit) in enumerate(self._against_limits()) if cost > limit.maximum
        )

    def violated(self) -> bool:
        """Return whether a limit does not hold."""
        return bool(self.broken)

    def fits(self, changes: Sequence[int]) -> bool:
        """Return whether every limit holds after a step that costs `changes`."""
        pairs = zip(changes, self._against_limits(), strict=True)
        return all(cost + change <= limit.maximum for change, (cost, limit) in pairs)

    def down(self, name: str) -> Down | None:
        """Return the least step down of a group that saves anything under the limits that do not hold.

        A measured cost may stay the same over several steps. If the whole way down saves nothing, no part of
        it does.
        """
        if name not in self.downs:
            self.downs[name] = self._least_saving(name)
        return self.downs[name]

    def _least_saving(self, name: str) -> Down | None:
        steps = self.at[name]
        if not steps or not (self._saved(name, -1) or self._saved(name, -steps)):
            return None
        by = next(-count for count in range(1, steps + 1) if self._saved(name, -count))
        lost, changes = self.step(name, by) or (0.0, [])
        return Down(lost / self._saved(name, by), by, changes)

    def _saved(self, name: str, by: int) -> float:
        """Return the cost that a step saves under the limits that do not hold, as a part of the dense cost.

        A measured cost can rise when a width shrinks; such a change counts as none.
        """
        step = self.step(name, by)
        if step is None:
            return 0.0
        limits = self.problem.limits
        return sum(max(-step[1][number], 0) / limits[number].dense for number in self.broken)

    def up(self, name: str) -> Up | None:
        """Return the step up of a group, whether it fits or not. None: the group has its greatest width."""
        if name not in self.ups:
            step = self.step(name, +1)
            self.ups[name] = None if step is None else Up(self._per_cost(*step), step[1])
        return self.ups[name]

    def _per_cost(self, gain: float, changes: Sequence[int]) -> float:
        """Return the worth of a step per cost that it adds under all limits, as a part of the dense cost."""
        pairs = zip(changes, self.problem.limits, strict=True)
        cost = sum(max(change, 0) / limit.dense for change, limit in pairs)
        return gain / cost if cost > 0 else float("inf")

    def _against_limits(self) -> Iterator[tuple[int, Limit]]:
        return zip(self.costs, self.problem.limits, strict=True)
