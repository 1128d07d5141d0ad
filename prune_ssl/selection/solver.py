"""The solver: from scores of units to a keep that meets every limit exactly and leaves no room unused."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from prune_ssl.selection.budget import Limit
from prune_ssl.tracing import Group, PruningGraph

UNIT_KINDS = ("conv", "heads", "ffn")  # what is pruned by default
KINDS = (*UNIT_KINDS, "hidden", "block", "layer")
ROUNDED_KINDS = ("conv", "ffn")  # heads are whole by nature


def allowed_widths(
    graph: PruningGraph, round_to: int = 8, kinds: Sequence[str] | None = None
) -> dict[str, list[int]]:
    """Return the widths that each group may end with, smallest first.

    Conv and FFN widths are multiples of `round_to`, or the full width; zero where a group may empty. A kind
    that is not in `kinds` (None: `UNIT_KINDS`) keeps its full width.
    """
    prunable = UNIT_KINDS if kinds is None else kinds
    return {
        name: _widths_of(group, round_to) if group.kind in prunable else [group.size]
        for name, group in graph.groups.items()
    }


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
) -> dict[str, tuple[int, ...]]:
    """Choose the units to keep: the best-scored ones, within every limit, no allowed step up still fitting.

    Greedy on score lost per cost saved: from `start` (default: everything) it lowers widths until every limit
    holds, then raises widths, best score per cost first, while anything fits. The result is never over a
    limit.

    Args:
        graph: the traced model.
        scores: group -> (units,) scores, non-negative, comparable across groups.
        limits: resolved budget; the floor of `widths` must meet it (`resolve` checks that).
        widths: group -> allowed widths, ascending.
        start: group -> width to start from (rounded to an allowed one), such as expected gate counts.

    Returns:
        A keep that names every group that lost a unit.
    """
    search = _Search(graph, scores, limits, widths, start)
    search.lower_until_met()
    search.raise_while_fits()
    return search.keep()


class _Search:
    """State of one greedy solve: an index into the allowed widths for each group."""

    def __init__(
        self,
        graph: PruningGraph,
        scores: Mapping[str, torch.Tensor],
        limits: Sequence[Limit],
        widths: Mapping[str, Sequence[int]],
        start: Mapping[str, int] | None,
    ) -> None:
        self.graph, self.limits, self.allowed = graph, limits, widths
        self.order: dict[str, NDArray[np.int64]] = {}
        self.cumulative: dict[str, NDArray[np.float64]] = {}
        for name in graph.groups:
            values = scores[name].detach().double().cpu().numpy()
            self.order[name] = np.argsort(-values, kind="stable")
            self.cumulative[name] = np.concatenate([[0.0], np.cumsum(values[self.order[name]])])
        self.at = {name: self._nearest(name, start) for name in graph.groups}
        self.now = {name: widths[name][index] for name, index in self.at.items()}
        self.values = [limit.polynomial.value(self.now) for limit in limits]

    def _nearest(self, name: str, start: Mapping[str, int] | None) -> int:
        allowed = self.allowed[name]
        if start is None:
            return len(allowed) - 1
        return min(range(len(allowed)), key=lambda index: abs(allowed[index] - start[name]))

    def _step(self, name: str, direction: int) -> tuple[float, list[int]] | None:
        """Return (score, cost change for each limit) of one step of a group, or None at its end."""
        index = self.at[name] + direction
        if not 0 <= index < len(self.allowed[name]):
            return None
        old, new = self.now[name], self.allowed[name][index]
        # Diminishing returns: a unit of a group that is nearly empty is worth more than its score says.
        # Without this, layers between two convolutions collapse first, because each makes the other's
        # channels cheap.
        worth = self.graph.groups[name].size / max(old, new)
        score = worth * abs(float(self.cumulative[name][new] - self.cumulative[name][old]))
        changes = [(new - old) * limit.polynomial.marginal(name, self.now) for limit in self.limits]
        return score, changes

    def _move(self, name: str, direction: int, changes: Sequence[int]) -> None:
        self.at[name] += direction
        self.now[name] = self.allowed[name][self.at[name]]
        self.values = [value + change for value, change in zip(self.values, changes, strict=True)]

    def _relative(self, changes: Sequence[int], only_violated: bool) -> float:
        """Cost change relative to each limit's dense cost, summed over the limits that matter now."""
        return sum(
            abs(change) / limit.dense
            for change, limit, value in zip(changes, self.limits, self.values, strict=True)
            if not only_violated or value > limit.maximum
        )

    def _violated(self) -> bool:
        return any(value > limit.maximum for value, limit in zip(self.values, self.limits, strict=True))

    def lower_until_met(self) -> None:
        while self._violated():
            best: tuple[float, str, list[int]] | None = None
            for name in self.graph.groups:
                step = self._step(name, -1)
                if step is None or not (saved := self._relative(step[1], only_violated=True)):
                    continue
                if best is None or step[0] / saved < best[0]:
                    best = (step[0] / saved, name, step[1])
            assert best is not None, "the floor meets every limit, so a step down exists"
            self._move(best[1], -1, best[2])

    def raise_while_fits(self) -> None:
        while True:
            best: tuple[float, str, list[int]] | None = None
            for name in self.graph.groups:
                step = self._step(name, +1)
                if step is None or not self._fits(step[1]):
                    continue
                cost = self._relative(step[1], only_violated=False)
                ratio = step[0] / cost if cost else float("inf")
                if best is None or ratio > best[0]:
                    best = (ratio, name, step[1])
            if best is None:
                return
            self._move(best[1], +1, best[2])

    def _fits(self, changes: Sequence[int]) -> bool:
        triples = zip(changes, self.limits, self.values, strict=True)
        return all(value + change <= limit.maximum for change, limit, value in triples)

    def keep(self) -> dict[str, tuple[int, ...]]:
        return {
            name: tuple(sorted(int(unit) for unit in self.order[name][: self.now[name]]))
            for name, group in self.graph.groups.items()
            if self.now[name] < group.size
        }
