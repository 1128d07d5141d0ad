"""Latency budgets as measured: what a table chooses is timed, and the table corrected until that fits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from prune_ssl.errors import BudgetError
from prune_ssl.profiling.timing import Timing, measure_interleaved
from prune_ssl.resizing import resize
from prune_ssl.selection import Budget, Conditions, as_budget
from prune_ssl.selection.latency import LatencyCost, LatencyTable
from prune_ssl.tracing import PruningGraph
from prune_ssl.tracing.arguments import as_model_and_graph

ROUNDS = 4
CALLS, LEAST_SECONDS = 25, 1.0  # of each model, in turns
SLACK = 0.04  # part of the budget that may be left over
AIM = 0.985  # of the budget: near the middle of what is accepted, as every timing is noisy

Keep = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Fit:
    """A budget whose table agrees with what was measured of the model that it chooses."""

    budget: Budget
    share: float = 1.0
    """Latency of that model, of the uncut model's."""


def fit_latency(
    model: nn.Module | str | Path,
    graph: PruningGraph,
    budget: Budget,
    choose: Callable[[Budget], Keep],
    say: Callable[[str], None] | None = None,
) -> Fit:
    """Correct the table of a latency budget until the cut that it leads to takes no longer, measured.

    A table's sum is a few percent off where all modules are narrower. So the cut is made, timed in turns
    with the uncut model, and chosen again with the savings of all widths scaled: to those of the first cut,
    then so that cuts on both sides of the budget close in on it. It ends within 4% below the budget, or with
    the best of four cuts. A percentage is of the uncut model timed beside it, absolute latencies are medians.

    Args:
        model: the model that is to be cut, without gates, or its folder or hub name; it is not changed.
        graph: what `trace(model)` gave.
        budget: with its tables (`with_latency`); one without a latency comes back as it is.
        choose: gives the keep of a budget (`select`, or gates); called with corrected budgets.
        say: called with one line for each cut that was timed.
    """
    model, budget = as_model_and_graph(model, graph, "fit_latency"), as_budget(budget)
    limit = next((each for each in budget if each.metric == "latency"), None)
    fit, attempts = Fit(budget), list[_Attempt]()
    if limit is None or limit.table is None:
        return fit
    cost, keep = LatencyCost(limit.table, graph), choose(budget)
    whole = cost.value(graph.widths())
    while (keep or limit.absolute is not None) and len(attempts) < ROUNDS:
        whole_ms, cut_ms = _timed(model, graph, keep, limit.at)
        goal = limit.fraction if limit.fraction is not None else (limit.absolute or 0) / 1e6 / whole_ms
        share, predicted = cut_ms / whole_ms, cost.value(graph.widths(keep)) / whole
        attempts.append(_Attempt(predicted, share / goal, replace(fit, share=share)))
        if say:
            say(f"Timed a cut: {cut_ms:.1f} ms, uncut {whole_ms:.1f} ms ({share:.1%}; asked: {goal:.1%})")
        if 1 - SLACK <= share / goal <= 1 or goal >= 1:
            break
        aim = _next_aim(attempts, goal)  # of the uncorrected table; the corrected one calls it the goal
        if aim >= 1:
            break  # the cut is not in the table (hidden size)
        level = 1.0 if limit.fraction is not None else whole_ms * 1e6 / whole
        table = corrected(limit.table, whole, (1 - goal) / (1 - aim), level)
        fit = Fit(tuple(replace(each, table=table) if each is limit else each for each in budget))
        try:
            before, keep = keep, choose(fit.budget)
        except BudgetError:
            break  # less than what was timed cannot be reached
        if keep == before:
            break  # something else limits it
    return _best(attempts).fit if attempts else fit


@dataclass(frozen=True)
class _Attempt:
    """A cut that was timed."""

    predicted: float
    """Its part of the uncut model's time in the uncorrected table."""
    used: float
    """What it took, of the budget."""
    fit: Fit

    def by_use(self) -> float:
        return self.used


def _best(attempts: Sequence[_Attempt]) -> _Attempt:
    """Return the cut that uses most of the budget; where all take more, the one that takes least."""
    within = [attempt for attempt in attempts if attempt.used <= 1]
    return max(within, key=_Attempt.by_use) if within else min(attempts, key=_Attempt.by_use)


def _next_aim(attempts: Sequence[_Attempt], goal: float) -> float:
    """Return which part of the uncut model's time in the table the next cut is to take."""
    over = [attempt for attempt in attempts if attempt.used > AIM]
    under = [attempt for attempt in attempts if attempt.used <= AIM]
    if over and under:
        high, low = min(over, key=_Attempt.by_use), max(under, key=_Attempt.by_use)
        part = (AIM - low.used) / (high.used - low.used)
        return low.predicted + part * (high.predicted - low.predicted)
    nearest = min(attempts, key=lambda attempt: abs(attempt.used - AIM))
    share = goal * nearest.used
    told = (
        share < 1 and nearest.predicted < 1
    )  # else the table knows nothing of what was cut, if anything was
    saved = (1 - nearest.predicted) / (1 - share) if told else 1.0
    return max(1 - saved * (1 - goal * AIM), 0.0)


def _timed(model: nn.Module, graph: PruningGraph, keep: Keep, at: Conditions) -> tuple[float, float]:
    """Return the ms of a model and of its cut, under the conditions of a latency.

    Medians; where other programs took part of the machine, and medians are those of the time that they took,
    the low quartiles of both.
    """
    placed = {
        name: resize(model, graph, units).to(at.device, getattr(torch, at.dtype))
        for name, units in (("whole", {}), ("cut", keep))
    }
    timing = Timing(
        seconds=at.seconds or 0,
        threads=at.threads,
        min_iterations=CALLS,
        min_seconds=LEAST_SECONDS,
        max_seconds=None,
    )
    found = measure_interleaved(placed, timing)
    whole, cut = found["whole"][0], found["cut"][0]
    if (whole.unsteady or cut.unsteady) and whole.low_ms and cut.low_ms:
        return whole.low_ms, cut.low_ms
    return whole.median_ms, cut.median_ms


def corrected(table: LatencyTable, whole_ns: int, factor: float, level: float = 1.0) -> LatencyTable:
    """Return a table in which every width saves `factor` times what it saved, at another level.

    Args:
        table: of the model.
        whole_ns: what the uncut model takes in it.
        factor: of what is saved.
        level: of all times: what the uncut model takes now, of what it took.
    """
    rest = whole_ns - factor * (whole_ns - table.rest_ns)
    return replace(
        table,
        dense_ns=round(level * table.dense_ns),
        rest_ns=max(round(level * rest), 0),
        segments=tuple(
            replace(part, times_ns=tuple(round(level * factor * each) for each in part.times_ns))
            for part in table.segments
        ),
    )
