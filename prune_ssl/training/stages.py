"""Progressive runs: gates, cut and recovery for each of several budgets, each from what the last one left."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from torch import nn

from prune_ssl.errors import BudgetError
from prune_ssl.gating import Plan, PruningConfig
from prune_ssl.selection import Budget, Limit, allowed_widths, reachable, resolve
from prune_ssl.selection.latency import LatencyCost
from prune_ssl.tracing import PruningGraph
from prune_ssl.training.cutting import composed, without_emptied_groups

if TYPE_CHECKING:
    from prune_ssl.training.trainer import PruningTrainer

# All stages together take at most this many times the steps of a run to one budget, and about as many times
# its cost: a run's later steps are cheaper, and so are later models. The first stage gets more than each of
# the others, which start from what it and those after it trained.
RUN_SHARE, FIRST_SHARE = 1.6, 2

PRUNING = "pruning"  # the phase of gate training, in histories


@dataclass(frozen=True)
class Finished:
    """One of the models of a run, and what it was asked to keep."""

    budget: str
    model: nn.Module
    plan: Plan | None
    """None: nothing was pruned, it is a student. A model that was cut in stages has no scales in it."""
    results: dict[str, dict[str, float]] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    """The budget, resolved."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One entry per logging step of the trainings that led to it, in fractions of the dense model."""
    last: bool = True
    """Whether the run is over with it."""
    warnings: tuple[str, ...] = ()
    """What makes it doubtful that the gates learned what was meant."""


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


def budget_of(limits: Iterable[Limit]) -> str:
    """Return what was asked for as text."""
    return ",".join(str(limit.constraint) for limit in limits)


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


def finalize_stages(first: "PruningTrainer") -> Iterator[Finished]:
    """Cut and recover what the trainer of the first stage trained, then go on from there, stage by stage."""
    trainer, keep, history, steps = first, dict[str, tuple[int, ...]](), list[dict[str, Any]](), 0
    latency_share = 1.0
    for number, stage in enumerate(first.stages, 1):
        small = trainer.cut_and_recovered(stage.recovery)
        gates = [entry for entry in trainer.history if entry["phase"] == PRUNING]
        recovery = [entry for entry in trainer.history if entry["phase"] != PRUNING]
        history += _of_dense(gates, first, trainer, keep, steps)
        assert trainer.plan is not None
        keep = composed(first.graph, keep, trainer.plan.keep)
        steps, last = steps + stage.steps, number == len(first.stages)
        latency_share *= trainer.latency_share
        goes_on = None if last else copy.deepcopy(small)
        yield Finished(
            budget_of(stage.limits),
            first.handed_over(small),
            trainer.plan if number == 1 else Plan(keep),
            trainer.results,
            stage.limits,
            history + recovery,
            last,
            tuple(trainer.warnings),
        )
        if goes_on is not None:
            trainer = first.stage_trainer(goes_on, number + 1, latency_share)
            trainer.train(resume_from_checkpoint=bool(first.resuming))


def _of_dense(
    entries: Iterable[Mapping[str, Any]],
    first: "PruningTrainer",
    trainer: "PruningTrainer",
    keep: Mapping[str, Sequence[int]],
    before: int,
) -> list[dict[str, Any]]:
    """Return what a stage logged, `before` steps into the run, as fractions of the dense model.

    Args:
        entries: of gate training; their fractions are of what the stage started from.
        first: the trainer of the dense model.
        trainer: that of the stage.
        keep: what earlier stages left.
        before: steps of their gate training.
    """
    share = trainer.gates.limits[0].dense / first.gates.limits[0].dense
    left = {kind: _share_of_kind(kind, first.graph, keep) for kind in first.pruning.kinds}
    return [
        {
            **entry,
            "step": before + entry["step"],
            "expected": share * entry["expected"],
            "target": share * entry["target"],
            "keeps": {kind: left[kind] * kept for kind, kept in entry["keeps"].items()},
        }
        for entry in entries
    ]


def _share_of_kind(kind: str, graph: PruningGraph, keep: Mapping[str, Sequence[int]]) -> float:
    sizes = {name: group.size for name, group in graph.groups.items() if group.kind == kind}
    kept = sum(len(keep.get(name, range(size))) for name, size in sizes.items())
    return kept / max(sum(sizes.values()), 1)
