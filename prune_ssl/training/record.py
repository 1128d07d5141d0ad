"""Owns what a pruning run found out so far (PruningRecord), and the models that it hands over (Finished)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from transformers import Trainer

from prune_ssl.distillation import Projections
from prune_ssl.gating import Plan
from prune_ssl.selection import Limit
from prune_ssl.tasks import ClipJudge

PRUNING = "pruning"
"""The phase of gate training, in histories."""
Progress = dict[str, Any]
"""What a checkpoint says of where its run stands, as JSON."""
Entry = dict[str, Any]
"""One entry of a history: phase, step, loss, learning rate; of gate training also expected, target, keeps by
kind."""
Results = dict[str, dict[str, float]]
"""Metrics of the evaluations: "dense" (before), "cut" (right after the cut), "recovered"."""
OutcomesByStage = dict[str, dict[str, str]]
"""The outcomes on each clip of the same evaluations, as `to_data` of `prune_ssl.tasks.Outcomes` gives."""


@dataclass
class PruningRecord:
    """Where one training stands, with its cut and recovery."""

    plan: Plan | None = None
    """What was kept, once the model is cut."""
    latency_share: float = 1.0
    """Part of the latency that the cut left, as measured (1: no latency budget)."""
    results: Results = field(default_factory=dict)
    outcomes: OutcomesByStage = field(default_factory=dict)
    """The outcomes on each clip, if the task keeps them."""
    history: list[Entry] = field(default_factory=list)
    """One entry per logging step."""
    warnings: list[str] = field(default_factory=list)
    """What makes it doubtful that the gates learned what was meant, a line each."""

    def judge(self, trainer: Trainer, stage: str) -> None:
        """Evaluate a trainer's model, and note its metrics and its outcomes as those of a stage."""
        judge = trainer.compute_metrics
        if isinstance(judge, ClipJudge):
            judge.outcomes = None
        self.results[stage] = trainer.evaluate(metric_key_prefix=stage)
        self.outcomes.pop(stage, None)
        if isinstance(judge, ClipJudge) and judge.outcomes is not None:
            self.outcomes[stage] = judge.outcomes.to_data()

    def progress(self) -> Progress:
        """Return what a checkpoint keeps of the record, as JSON."""
        return {"results": self.results, "outcomes": self.outcomes, "history": self.history}

    def take(self, progress: Progress) -> None:
        """Go on from the record of a checkpoint. Those of earlier versions have no outcomes."""
        self.results, self.history = progress["results"], progress["history"]
        self.outcomes = progress.get("outcomes", {})

    def take_dense(self, other: "PruningRecord") -> None:
        """Take over what another record knows of the dense model, so that it is not judged again."""
        self.results |= {stage: found for stage, found in other.results.items() if stage == "dense"}
        self.outcomes |= {stage: found for stage, found in other.outcomes.items() if stage == "dense"}

    def note_losses(self, log: Iterable[Mapping[str, float]], phase: str, before: int = 0) -> None:
        """Add the losses of another trainer's log, `before` steps into a phase, to the history."""
        self.history += losses_of(log, phase, before)


def losses_of(log: Iterable[Mapping[str, float]], phase: str, before: int = 0) -> list[Entry]:
    """Return the losses and learning rates of a trainer's log as entries of a history.

    Args:
        log: `state.log_history` of the trainer.
        phase: of the history.
        before: steps of the phase before that trainer.

    >>> losses_of([{"loss": 0.5, "learning_rate": 1e-3, "step": 2}, {"eval_loss": 1.0, "step": 2}], "dense")
    [{'phase': 'dense', 'step': 2, 'loss': 0.5, 'learning_rate': 0.001}]
    """
    return [
        {"phase": phase, "step": before + entry["step"]}
        | {key: entry[key] for key in ("loss", "learning_rate") if key in entry}
        for entry in log
        if "loss" in entry
    ]


@dataclass(frozen=True)
class Finished:
    """One of the models of a run, and the budget that it meets."""

    budget: str
    model: nn.Module
    plan: Plan | None
    """None: nothing was pruned, it is a student. A model that was cut in stages has no scales in it."""
    results: Results = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    """The budget, resolved."""
    history: list[Entry] = field(default_factory=list)
    """One entry per logging step of the trainings that led to it, in fractions of the dense model."""
    last: bool = True
    """True for the last model of the run."""
    warnings: tuple[str, ...] = ()
    """What makes it doubtful that the gates learned what was meant."""
    outcomes: OutcomesByStage = field(default_factory=dict)
    """The outcomes on each clip, if the task keeps them."""
    schedule: Mapping[str, str] = field(default_factory=dict)
    """The schedule of the trainings that led to it, in a few words each."""
    projections: Projections | None = None
    """The learned maps of its states to the teacher's width. None: there is no distillation."""


def budget_text(limits: Iterable[Limit]) -> str:
    """Return the budget in the grammar of `parse_budget`."""
    return ",".join(str(limit.constraint) for limit in limits)
