"""Latency budgets as measured: what a table chooses is timed, and the table corrected until that fits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from prune_ssl.errors import BudgetError
from prune_ssl.profiling.timing import measure_interleaved
from prune_ssl.resizing import resize
from prune_ssl.selection import Budget, Conditions
from prune_ssl.selection.latency import LatencyCost, LatencyTable
from prune_ssl.tracing import PruningGraph

ROUNDS = 4
CALLS, LEAST_SECONDS = 15, 1.0  # of each model, in turns
SLACK = 0.04  # part of the budget that may be left over
AIM = 0.985  # of the budget: in the middle of what is accepted, as every timing is noisy

Keep = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Fit:
    """A budget whose table agrees with what was measured of the model that it chooses."""

    budget: Budget
    share: float = 1.0
    """Latency of that model, of the uncut model's."""


def fit_latency(
    budget: Budget,
    model: nn.Module,
    graph: PruningGraph,
    choose: Callable[[Budget], Keep],
    say: Callable[[str], None] | None = None,
) -> Fit:
    """Correct the table of a latency budget until the cut that it leads to takes no longer, measured.

    A table adds up its modules, which are a few percent off in a model where all are narrower. So the cut is
    made, timed in turns with the uncut model, and chosen again with what the widths save scaled to what they
    saved. It ends within 4% below the budget, or with the best of four cuts. A percentage is of the uncut
    model timed beside it, an absolute latency is compared with the median in ms.

    Args:
        budget: with its tables (`with_latency`); one without a latency comes back as it is.
        model: the model that is to be cut, without gates; it is not changed.
        graph: what `trace(model)` gave.
        choose: what a budget keeps (`select`, or gates); it is called with corrected budgets.
        say: called with one line for each cut that was timed.
    """
    attempts: list[tuple[float, Fit]] = []
    limit = next((each for each in budget if each.metric == "latency"), None)
    keep: Keep = {} if limit is None else choose(budget)
    while limit is not None and keep and len(attempts) < ROUNDS:
        whole_ms, cut_ms = _timed(model, graph, keep, limit.at)
        goal = limit.fraction if limit.fraction is not None else (limit.absolute or 0) / 1e6 / whole_ms
        share = cut_ms / whole_ms
        attempts.append((share / goal, Fit(budget, share)))
        if say is not None:
            said = f"Timed a cut: {cut_ms:.1f} ms, uncut {whole_ms:.1f} ms ({share:.1%}"
            say(f"{said}; asked: {goal:.1%})")
        if 1 - SLACK <= share / goal <= 1:
            break
        assert limit.table is not None
        level = None if limit.fraction is not None else whole_ms
        limit = replace(limit, table=corrected(limit.table, graph, keep, share / AIM, level))
        budget = tuple(limit if each.metric == "latency" else each for each in budget)
        try:
            before, keep = keep, choose(budget)
        except BudgetError:
            break  # less than what was timed cannot be reached
        if keep == before:
            break  # something else limits it
    within = [attempt for attempt in attempts if attempt[0] <= 1]
    best = max(within, key=_part) if within else min(attempts, key=_part, default=None)
    return Fit(budget) if best is None else best[1]


def _part(attempt: tuple[float, Fit]) -> float:
    return attempt[0]


def _timed(model: nn.Module, graph: PruningGraph, keep: Keep, at: Conditions) -> tuple[float, float]:
    """Return the median ms of a model and of its cut, under the conditions of a latency."""
    assert at.seconds is not None
    placed = {
        name: resize(model, graph, units).to(at.device, getattr(torch, at.dtype))
        for name, units in (("whole", {}), ("cut", keep))
    }
    found = measure_interleaved(
        placed,
        at.seconds,
        at.threads,
        min_iterations=CALLS,
        min_seconds=LEAST_SECONDS,
        max_seconds=None,
    )
    return found["whole"][0].median_ms, found["cut"][0].median_ms


def corrected(
    table: LatencyTable, graph: PruningGraph, keep: Keep, share: float, whole_ms: float | None = None
) -> LatencyTable:
    """Scale what widths save, so that `keep` takes `share` of the uncut model's time.

    Args:
        table: of the model.
        graph: of the model.
        keep: what was timed.
        share: its latency, of the uncut model's.
        whole_ms: what the uncut model took, which is then the table's level too (None: its own).
    """
    cost = LatencyCost(table, graph)
    whole = cost.value(graph.widths())
    saved = whole - cost.value(graph.widths(keep))
    factor = (1 - share) * whole / saved if saved > 0 and share < 1 else 1.0
    level = 1.0 if whole_ms is None else whole_ms * 1e6 / whole
    rest = whole - factor * (whole - table.rest_ns)
    return replace(
        table,
        dense_ns=round(level * table.dense_ns),
        rest_ns=max(round(level * rest), 0),
        segments=tuple(
            replace(part, times_ns=tuple(round(level * factor * each) for each in part.times_ns))
            for part in table.segments
        ),
    )
