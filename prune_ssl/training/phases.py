"""Owns the phases of a pruning run: judging the dense model, the cut by gates, recovery, handing over."""

import dataclasses
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn
from transformers import TrainerCallback, TrainingArguments

from prune_ssl.distillation import Distiller
from prune_ssl.errors import GatingError, PruneWarning
from prune_ssl.gating import Gates, PruningConfig, doubts, project, require_learned
from prune_ssl.gating.config import EQUAL
from prune_ssl.profiling import fit_latency
from prune_ssl.resizing import resize, to_stock
from prune_ssl.selection import Budget
from prune_ssl.tracing import PruningGraph
from prune_ssl.training.checkpoints import load_fit, save_fit
from prune_ssl.training.cutting import agreed
from prune_ssl.training.distilling import DistillationTrainer
from prune_ssl.training.parts_trainer import PartsTrainer
from prune_ssl.training.processes import from_first, on_first
from prune_ssl.training.progress import use_budget_progress
from prune_ssl.training.record import PRUNING, Finished, PruningRecord, budget_text
from prune_ssl.training.resumable import ResumableTrainer
from prune_ssl.training.settings import restore_layerdrop
from prune_ssl.training.sharding import require_same_weights
from prune_ssl.writing import remove

LATENCY_FILE = "latency.json"
"""Holds the latency as measured at the cut."""
RECOVERY = "recovery"
"""The phase after the cut, and its folder."""
STAGE = "stage-"
"""Folders of the later stages of a progressive run begin like this."""


@dataclass
class PruningRun:
    """What the phases of one gate training, cut and recovery share."""

    trainer: ResumableTrainer
    """Of the first phase: later ones take over its data, arguments and collator."""
    config: PruningConfig
    graph: PruningGraph
    """Of the model before the cut."""
    gates: Gates
    distiller: Distiller | None
    callbacks: list[TrainerCallback]
    """The user's own, which later phases get too."""
    layerdrop: float | None
    """Of the model, before it was switched off."""
    record: PruningRecord
    resuming: str | bool | None = None
    """What `train` was given as `resume_from_checkpoint`."""
    gate_start: str = EQUAL
    """The criterion in whose order the gates started."""
    warned_of_loss: bool = False

    @property
    def args(self) -> TrainingArguments:
        """Arguments of the first phase."""
        return self.trainer.args

    @property
    def folder(self) -> Path:
        """Folder of the checkpoints."""
        return Path(self.args.output_dir or ".")

    @property
    def writes(self) -> bool:
        """Whether the run writes checkpoints."""
        return self.args.save_strategy != "no"

    @property
    def model(self) -> nn.Module:
        """The present model of the first phase."""
        model = self.trainer.model
        assert isinstance(model, nn.Module)
        return model

    def learning_rate(self, keep: Mapping[str, Sequence[int]]) -> float:
        """Return the peak learning rate of the weights that a cut left.

        Args:
            keep: the kept units of the cut, in units of the graph.
        """
        seconds = self.config.seconds
        kept = self.graph.cost(keep, seconds).macs / self.graph.cost(seconds=seconds).macs
        return self.args.learning_rate * self.config.rate_factor(kept)

    def note(self, line: str) -> None:
        """Warn of something, and keep it in the record and in the last entry of its history."""
        record = self.record
        record.warnings.append(line)
        if record.history:
            record.history[-1].setdefault("warnings", []).append(line)
        if self.trainer.is_world_process_zero():
            warnings.warn(line, PruneWarning, stacklevel=2)

    def handed_on(self) -> dict[str, Any]:
        """Return what trainers of later phases take over."""
        trainer = self.trainer
        return {
            "data_collator": trainer.data_collator,
            "train_dataset": trainer.train_dataset,
            "eval_dataset": trainer.eval_dataset,
            "processing_class": trainer.processing_class,
            "compute_metrics": trainer.compute_metrics,
            "compute_loss_func": trainer.compute_loss_func,
            "preprocess_logits_for_metrics": trainer.preprocess_logits_for_metrics,
            "callbacks": self.callbacks,
            "distiller": self.distiller,
        }


def forget_earlier_run(run: PruningRun) -> None:
    """Drop what `resume_from_checkpoint` would else take for this run's later phases."""
    if not run.writes:
        return
    for left in (run.folder / RECOVERY, *run.folder.glob(f"{STAGE}*"), run.folder / LATENCY_FILE):
        remove(left)


def evaluate_dense(run: PruningRun) -> None:
    """Note the metrics of the dense model, unless they are known or there is nothing to judge by."""
    if run.trainer.eval_dataset is not None and "dense" not in run.record.results:
        run.gates.hold({})
        run.record.judge(run.trainer, "dense")
        run.gates.hold(None)


def later_trainer(
    run: PruningRun, model: nn.Module, steps: int, name: str, rate: float
) -> DistillationTrainer:
    """Return a trainer of a later phase, with the data and the arguments of the first.

    Args:
        run: the run.
        model: what a cut left.
        steps: optimiser steps.
        name: of the phase and of its folder.
        rate: learning rate.
    """
    kind = type(run.trainer)
    if kind.compute_loss is not PartsTrainer.compute_loss and not run.warned_of_loss:
        run.warned_of_loss = True
        run.note(
            f"{name}: {kind.__name__}.compute_loss serves gate training only; this phase learns "
            "from the model's own loss. Give the loss as compute_loss_func, and all phases use it."
        )
    changes: dict[str, Any] = {
        "output_dir": str(run.folder / name),
        "max_steps": steps,
        "learning_rate": rate,
    }
    if name == RECOVERY and run.config.recovery_warmup_ratio is not None:
        changes["warmup_steps"] = run.config.recovery_warmup_ratio
    args = dataclasses.replace(run.args, **changes)
    trainer = DistillationTrainer(model=model, args=args, **run.handed_on())
    trainer.phase, trainer.starts_easy = name, False
    use_budget_progress(trainer, name)
    return trainer


def cut_by_gates(run: PruningRun) -> nn.Module:
    """Cut the model to the exact budget by what its gates learned, and return it.

    Raises:
        GatingError: the gates learned nothing, or were not trained.
    """
    model, gates = run.model, run.gates
    _require_learned(run)
    run.trainer.detach_parts()
    run.record.latency_share = _fit_latency(run, model)
    run.record.plan = agreed(project(gates, gates.lagrangian), run.trainer.accelerator)
    return require_same_weights(
        resize(model, run.graph, run.record.plan, inplace=True), run.trainer.accelerator
    )


def recover(run: PruningRun, model: nn.Module, steps: int | None = None) -> nn.Module:
    """Judge a model that was cut, fine-tune it, judge it again, and return it as it is then.

    Args:
        run: its run.
        model: it is trained in place.
        steps: optimiser steps (None: what the config says).
    """
    trainer, record, config = run.trainer, run.record, run.config
    if run.distiller is not None:
        run.distiller.attach(model)
    if steps is None:
        steps = round(config.recovery * (trainer.state.global_step or run.gates.lagrangian.steps))
    assert record.plan is not None
    rate = config.recovery_learning_rate or run.learning_rate(record.plan.keep)
    recovery = later_trainer(run, model, steps, RECOVERY, rate)
    recovery.phase += trainer.phase.removeprefix(PRUNING)
    if trainer.eval_dataset is not None and "cut" not in record.results:
        record.judge(recovery, "cut")
    if recovery.args.max_steps > 0:
        recovery.train(resume_from_checkpoint=bool(run.resuming))
        record.note_losses(recovery.state.log_history, "recovery")
        if trainer.eval_dataset is not None:
            record.judge(recovery, "recovered")
    trainer.detach_parts()
    return trained_model(recovery)


def finalize_one(run: PruningRun) -> Iterator[Finished]:
    """Cut the model of a run with one budget, unless that was done, recover it, and yield it."""
    record = run.record
    model = cut_by_gates(run) if record.plan is None else run.model
    small = as_handed_over(run, recover(run, model))
    yield Finished(
        budget_text(run.gates.limits),
        small,
        record.plan,
        record.results,
        run.gates.limits,
        record.history,
        warnings=tuple(record.warnings),
        outcomes=record.outcomes,
        projections=None if run.distiller is None else run.distiller.projections,
    )


def trained_model(trainer: ResumableTrainer) -> nn.Module:
    """Return the model of a trainer without what accelerate has put around it."""
    return cast(nn.Module, trainer.accelerator.unwrap_model(trainer.model))


def _require_learned(run: PruningRun) -> None:
    """Refuse to cut by gates that learned nothing; warn where they may have learned too little.

    Raises:
        GatingError: so it is, or `train()` was not called.
    """
    if not run.gates.learned.asked:
        raise GatingError(
            "finalize() before train(): the gates have learned nothing. Call train() first; to cut "
            "without training, use PruningConfig(method='one_shot') or prune_ssl.select."
        )
    require_learned(run.gates, run.gates.lagrangian, run.gates.first())
    for doubt in doubts(run.gates, run.gates.lagrangian):
        run.note(f"{run.trainer.title}: {doubt}.")


def _fit_latency(run: PruningRun, model: nn.Module) -> float:
    """Make the table of a latency budget agree with what is measured; return the share that is left.

    The measurement is written down: a resumed run must make the same cut.
    """
    gates = run.gates
    budget = tuple(limit.constraint for limit in gates.limits)
    if all(limit.metric != "latency" for limit in budget):
        return 1.0

    def choose(budget: Budget) -> dict[str, tuple[int, ...]]:
        gates.constrain(budget)
        return project(gates, gates.lagrangian).keep

    path = run.folder / LATENCY_FILE
    if run.resuming and path.is_file():
        fit = load_fit(path, budget)
    else:
        fit = from_first(lambda: fit_latency(model, run.graph, budget, choose))
        if run.writes:
            on_first(lambda: save_fit(path, fit))
    gates.constrain(fit.budget)
    return fit.share


def as_handed_over(run: PruningRun, small: nn.Module) -> nn.Module:
    """Return a model that was cut and recovered as its user gets it: in its layout, in eval mode."""
    small = to_stock(small) if run.config.layout == "stock" else small
    restore_layerdrop(small, run.layerdrop)
    return small.eval()
