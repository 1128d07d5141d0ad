"""Progressive runs: gates, cut and recovery for each of several budgets, each from what the last one left."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from torch import nn

from prune_ssl.errors import BudgetError
from prune_ssl.gating import Plan, PruningConfig
from prune_ssl.selection import Budget, Limit, allowed_widths, reachable, resolve
from prune_ssl.selection.latency import LatencyCost
from prune_ssl.tracing import PruningGraph
from prune_ssl.training.cutting import composed, without_emptied_groups
from prune_ssl.training.phases import PruningRun, as_handed_over, cut_by_gates, recover
from prune_ssl.training.record import PRUNING, Entry, Finished, budget_text

# All stages together take at most this many times the steps of a run to one budget, and about as many times
# its cost: a run's later steps are cheaper, and so are later models. The first stage gets more than each of
# the others, which start from what it and those after it trained.
RUN_SHARE, FIRST_SHARE = 1.6, 2


@dataclass(frozen=True)
class Stage:
    """One gate training, cut and recovery, down to one of the budgets of a run."""

    limits: tuple[Limit, ...]
    """Of the dense model."""
    steps: int
    """Optimiser steps of gate training."""
    recovery: int
    """Optimiser steps after the cut."""

    def budget(
        self, latency_share: float, dense: PruningGraph, graph: PruningGraph, config: PruningConfig
    ) -> Budget:
        """Return the budget for a model that was cut before: in amounts, which mean the same for it.

        A part of the dense latency becomes a part of what that model takes; at least what it can reach, since
        a timing that differs from the table must not end a run.

        Args:
            latency_share: that model's measured latency, of the dense one's.
            dense: graph of the dense model.
            graph: of that model.
            config: kinds and rounding.
        """
        widths = allowed_widths(graph, config.round_to, config.kinds, config.layout)
        constraints = without_emptied_groups(tuple(limit.constraint for limit in self.limits), dense, graph)
        budget = []
        for limit, constraint in zip(self.limits, constraints, strict=True):
            if constraint.table is None or constraint.fraction is None:
                budget.append(replace(constraint, fraction=None, absolute=limit.maximum))
                continue
            smallest, whole = reachable(graph, LatencyCost(constraint.table, graph), widths)
            fraction = max(limit.fraction / latency_share, (smallest + 1) / whole)
            budget.append(replace(constraint, fraction=min(fraction, 1.0)))
        return tuple(budget)


def stages_of(config: PruningConfig, graph: PruningGraph, steps: int) -> list[Stage]:
    """Share the steps of gate training among the budgets, and give each its steps of recovery.

    Raises:
        BudgetError: a budget cannot be met, or there are fewer steps than budgets.
    """
    widths = allowed_widths(graph, config.round_to, config.kinds, config.layout)
    budgets = (*config.milestones, config.budget)
    limits = [resolve(budget, graph, widths, config.seconds) for budget in budgets]
    count = len(budgets)
    if steps < FIRST_SHARE + count - 1:
        raise BudgetError(
            f"{steps} steps are too few for {count} budgets: each needs steps of its own. Train longer, or "
            "leave milestones out."
        )
    parts = FIRST_SHARE + count - 1
    ends = [0, *(steps * (FIRST_SHARE + index) // parts for index in range(count))]
    most = (RUN_SHARE * (1 + config.recovery) - 1) / parts
    recoveries = [min(config.recovery, FIRST_SHARE * most), *[min(config.recovery, most)] * (count - 1)]
    return [
        Stage(each, end - start, round(recovery * steps))
        for each, (start, end), recovery in zip(limits, pairwise(ends), recoveries, strict=True)
    ]


def finalize_stages(
    first: PruningRun,
    stages: Sequence[Stage],
    train_stage: Callable[[nn.Module, int, float], PruningRun],
) -> Iterator[Finished]:
    """Cut and recover what the first stage trained, then go on from there, stage by stage.

    Args:
        first: the run of the first stage, trained.
        stages: all of them.
        train_stage: trains the gates of stage `number` (from 1) on the model that the stage before left,
            which has a `latency_share` of the dense model's latency.
    """
    run, keep, history, steps = first, dict[str, tuple[int, ...]](), list[Entry](), 0
    latency_share = 1.0
    for number, stage in enumerate(stages, 1):
        small = recover(run, cut_by_gates(run), stage.recovery)
        record = run.record
        gates = [entry for entry in record.history if entry["phase"] == PRUNING]
        recovery = [entry for entry in record.history if entry["phase"] != PRUNING]
        history += _of_dense(gates, first, run, keep, steps)
        assert record.plan is not None
        keep = composed(first.graph, keep, record.plan.keep)
        steps, last = steps + stage.steps, number == len(stages)
        latency_share *= record.latency_share
        goes_on = None if last else copy.deepcopy(small)
        yield Finished(
            budget_text(stage.limits),
            as_handed_over(first, small),
            record.plan if number == 1 else Plan.of(first.graph, keep),
            record.results,
            stage.limits,
            history + recovery,
            last,
            tuple(record.warnings),
            record.outcomes,
            projections=None if run.distiller is None else copy.deepcopy(run.distiller.projections),
        )
        if goes_on is not None:
            run = train_stage(goes_on, number + 1, latency_share)


def _of_dense(
    entries: Iterable[Entry],
    first: PruningRun,
    run: PruningRun,
    keep: Mapping[str, Sequence[int]],
    before: int,
) -> list[Entry]:
    """Return what a stage logged, `before` steps into the run, as fractions of the dense model.

    Args:
        entries: of gate training; their fractions are of what the stage started from.
        first: the run of the dense model.
        run: that of the stage.
        keep: what earlier stages left.
        before: steps of their gate training.
    """
    share = run.gates.limits[0].dense / first.gates.limits[0].dense
    left = {kind: _share_of_kind(kind, first.graph, keep) for kind in first.config.kinds}
    return [
        {
            **entry,
            "step": before + entry["step"],
            "expected": share * entry["expected"],
            "target": share * entry["target"],
            "open": share * entry["open"],
            "keeps": {kind: left[kind] * kept for kind, kept in entry["keeps"].items()},
        }
        for entry in entries
    ]


def _share_of_kind(kind: str, graph: PruningGraph, keep: Mapping[str, Sequence[int]]) -> float:
    sizes = {name: group.size for name, group in graph.groups.items() if group.kind == kind}
    kept = sum(len(keep.get(name, range(size))) for name, size in sizes.items())
    return kept / max(sum(sizes.values()), 1)
