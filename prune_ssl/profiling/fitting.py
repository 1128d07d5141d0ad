"""Fit a latency budget to measurements: time the cut that a table chooses, and correct the table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from prune_ssl.errors import BudgetError
from prune_ssl.profiling.amounts import milliseconds
from prune_ssl.profiling.timing import Timing
from prune_ssl.resizing import resize
from prune_ssl.runtimes.opening import Opened
from prune_ssl.selection import Budget, Conditions, Constraint, as_budget
from prune_ssl.selection.latency import LatencyCost, LatencyTable
from prune_ssl.tracing import PruningGraph
from prune_ssl.tracing.arguments import as_model_and_graph

ROUNDS = 4  # at most so many cuts are timed
CALLS, LEAST_SECONDS = 25, 1.0  # timed calls of each model, and the time that they take at least
SLACK = 0.03  # share of the budget that may be left over
AIM = 0.985  # aim at this share of the budget, near the middle of the accepted range, as timings are noisy

Keep = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Fit:
    """A budget whose table agrees with the measured latency of the cut that it chooses."""

    budget: Budget
    """The budget with the corrected table."""
    share: float = 1.0
    """The latency of that cut as a fraction of the uncut model's."""


def fit_latency(
    model: nn.Module | str | Path,
    graph: PruningGraph,
    budget: Budget,
    choose: Callable[[Budget], Keep],
    say: Callable[[str], None] | None = None,
) -> Fit:
    """Correct the table of a latency budget until the chosen cut, measured, is within the budget.

    The sum of a table's times is a few percent off if all modules are narrower. So the cut is made and timed
    in turns with the uncut model, in the runtime of the budget. Then all savings of the table are scaled, and
    the cut is chosen again. The first scale is the ratio of the measured to the predicted saving. Later
    scales interpolate between cuts above and below the budget. This ends with a cut at most 3% below the
    budget, or with the best of four cuts. A percentage refers to the uncut model timed in the same turns.
    Absolute latencies are medians. Of several latencies, each is corrected in its turn. The latency of a
    section is not corrected, because the whole model alone can be timed in every runtime.

    Args:
        model: The model to cut, without gates, or its folder or hub name. It is not changed.
        graph: The graph of `trace(model)`.
        budget: The budget with its tables (see `with_latency`). One without a latency is returned unchanged.
        choose: Returns the keep for a budget (by `select`, or by gates). It is called with corrected budgets.
        say: Called with one line for each timed cut.

    >>> from prune_ssl.selection import parse_budget
    >>> from prune_ssl.tracing import trace
    >>> from transformers import HubertConfig, HubertModel
    >>> config = HubertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    >>> model = HubertModel(config)
    >>> fit_latency(model, trace(model), parse_budget("macs=50%"), choose=lambda budget: {}).share
    1.0
    """
    model, fit = as_model_and_graph(model, graph, "fit_latency"), Fit(as_budget(budget))
    for index, limit in reversed(list(enumerate(fit.budget))):  # the share is that of the first latency
        if limit.metric == "latency" and limit.table is not None and limit.section is None:
            fit = _fit_one(_Subject(model, graph, limit, limit.table), index, fit.budget, choose, say)
    return fit


class _Subject:
    """A model, and the latency that its cuts are timed for."""

    def __init__(self, model: nn.Module, graph: PruningGraph, limit: Constraint, table: LatencyTable) -> None:
        self.model, self.graph, self.limit, self.table = model, graph, limit, table
        self.cost = LatencyCost(table, graph)
        self.whole = self.cost.value(graph.widths())
        self.opened: dict[str, Opened] = {}

    def attempt(self, keep: Keep) -> tuple[float, float]:
        """Return the ms of the uncut model and of a cut."""
        return _timed(self.model, self.graph, keep, self.limit.at, self.opened)

    def predicted(self, keep: Keep) -> float:
        """Return the time of a cut in the uncorrected table, as a fraction of the uncut model's."""
        return self.cost.value(self.graph.widths(keep)) / self.whole


def _fit_one(
    subject: _Subject,
    index: int,
    budget: Budget,
    choose: Callable[[Budget], Keep],
    say: Callable[[str], None] | None,
) -> Fit:
    """Correct the table of one latency of a budget, which is at `index`."""
    limit, whole = subject.limit, subject.whole
    fit, attempts, keep = Fit(budget), list[_Attempt](), choose(budget)
    while (keep or limit.absolute is not None) and len(attempts) < ROUNDS:
        whole_ms, cut_ms = subject.attempt(keep)
        goal = limit.fraction if limit.fraction is not None else (limit.absolute or 0) / 1e6 / whole_ms
        share = cut_ms / whole_ms
        attempts.append(_Attempt(subject.predicted(keep), share / goal, replace(fit, share=share)))
        if say:
            say(f"Timed a cut: {cut_ms:.1f} ms, uncut {whole_ms:.1f} ms ({share:.1%}; asked: {goal:.1%})")
        if 1 - SLACK <= share / goal <= 1 or goal >= 1:
            break
        aim = _next_aim(attempts, goal)  # in the uncorrected table; the corrected one shall give the goal
        if aim >= 1:
            break  # the cut is not in the table (hidden size)
        level = 1.0 if limit.fraction is not None else whole_ms * 1e6 / whole
        table = corrected(subject.table, whole, (1 - goal) / (1 - aim), level)
        fit = Fit((*budget[:index], replace(limit, table=table), *budget[index + 1 :]))
        try:
            before, keep = keep, choose(fit.budget)
        except BudgetError:
            break  # no smaller cut can be reached
        if keep == before:
            break  # another limit decides the cut
    return _best(attempts).fit if attempts else fit


@dataclass(frozen=True)
class _Attempt:
    """A cut that was timed."""

    predicted: float
    """Its time in the uncorrected table, as a fraction of the uncut model's."""
    used: float
    """Its measured time as a fraction of the budget."""
    fit: Fit

    def by_use(self) -> float:
        return self.used

    def by_prediction(self) -> float:
        return self.predicted


def _best(attempts: Sequence[_Attempt]) -> _Attempt:
    """Return the cut that uses most of the budget, or the fastest cut if all exceed the budget."""
    within = [attempt for attempt in attempts if attempt.used <= 1]
    return max(within, key=_Attempt.by_use) if within else min(attempts, key=_Attempt.by_use)


def _next_aim(attempts: Sequence[_Attempt], goal: float) -> float:
    """Return the fraction of the uncut model's time in the table that the next cut shall take."""
    over = [attempt for attempt in attempts if attempt.used > AIM]
    under = [attempt for attempt in attempts if attempt.used <= AIM]
    if over and under:
        high, low = min(over, key=_Attempt.by_use), max(under, key=_Attempt.by_use)
        part = (AIM - low.used) / (high.used - low.used)
        return low.predicted + part * (high.predicted - low.predicted)
    # All cuts are on one side. Go on from the farthest: noise may say that an earlier one was nearer.
    farthest = min(over, key=_Attempt.by_prediction) if over else max(under, key=_Attempt.by_prediction)
    share = goal * farthest.used
    comparable = share < 1 and farthest.predicted < 1  # else nothing in the table was cut
    saved = (1 - farthest.predicted) / (1 - share) if comparable else 1.0
    return max(1 - saved * (1 - goal * AIM), 0.0)


def _timed(
    model: nn.Module, graph: PruningGraph, keep: Keep, at: Conditions, opened: dict[str, Opened]
) -> tuple[float, float]:
    """Return the ms of a model and of its cut, under the conditions of a latency."""
    models = {"whole": resize(model, graph, {}), "cut": resize(model, graph, keep)}
    timing = Timing(min_iterations=CALLS, min_seconds=LEAST_SECONDS, max_seconds=None)
    found = milliseconds(models, at, timing, opened, again=("whole",))
    return found["whole"], found["cut"]


def corrected(table: LatencyTable, whole_ns: int, factor: float, level: float = 1.0) -> LatencyTable:
    """Return a table whose savings are scaled by `factor`, and all its times by `level`.

    Args:
        table: The table of the model.
        whole_ns: The time of the uncut model in this table.
        factor: The factor of the savings of every width.
        level: The factor of all times: the present time of the uncut model over its time in the table.
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
