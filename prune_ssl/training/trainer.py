"""PruningTrainer: gate training as a transformers.Trainer, then finalize (cut) and recovery."""

import copy
import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import TrainOutput

from prune_ssl.errors import BudgetError, GatingError, PruneError, PruneWarning
from prune_ssl.gating import Plan, PruningConfig, attach, attach_gates, doubts, project, require_learned
from prune_ssl.models.arguments import shown
from prune_ssl.models.checkpointing import refuse_reentrant_arguments
from prune_ssl.profiling import fit_latency
from prune_ssl.resizing import resize, to_stock
from prune_ssl.selection import Budget
from prune_ssl.tracing import PruningGraph, trace
from prune_ssl.tracing.arguments import check_same_model
from prune_ssl.training.checkpoints import load_fit, load_gates, save_fit, save_gates
from prune_ssl.training.cutting import agreed
from prune_ssl.training.distilling import DistillationTrainer
from prune_ssl.training.processes import from_first
from prune_ssl.training.progress import use_budget_progress
from prune_ssl.training.rounds import planned_steps, train_in_rounds
from prune_ssl.training.settings import (
    constant,
    refuse_unsupported,
    restore_layerdrop,
    with_tables,
    without_layerdrop,
)
from prune_ssl.training.sharding import agreed_weights, refuse_unsupported_sharding
from prune_ssl.training.stages import Finished, Stage, budget_of, finalize_stages, stages_of
from prune_ssl.writing import remove

LATENCY_FILE = "latency.json"  # what was measured at the cut
RECOVERY, STAGE = "recovery", "stage-"  # folders of later phases


class _AfterStep(TrainerCallback):
    """Keeps the gates within their bounds and clears their gradients after every optimiser step.

    Trainer clears the gradients of its model, not those of its optimiser: the gates' would add up for ever.
    """

    def __init__(self, trainer: "PruningTrainer") -> None:
        self.trainer = trainer

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.gates.clamp_()
        self.trainer.gates.zero_grad()


class PruningTrainer(DistillationTrainer):
    """A `transformers.Trainer` that learns under a budget which units should go.

    `train()` trains weights and gates jointly: task loss + augmented Lagrangian (HJ-Pruning, methods 3), and
    the losses of a DistillationConfig (DPHuBERT, methods 4), in recovery too; the teacher is by default the
    dense model. `finalize()` projects the gates to the exact budget, cuts the model, fine-tunes the small
    one (`PruningConfig.recovery`) and returns it. Recovery has a trainer of its own with the same arguments,
    data, callbacks, collator and `compute_loss_func`; a given optimiser, and a `compute_loss` of a subclass,
    serve gate training only. With `PruningConfig.method` "iterative" or "one_shot" `train()` cuts by a
    criterion instead, and all training is like that of recovery. Under several processes all draw the same
    gates and make the same cut.

    With `milestones` the run is progressive: the steps of gate training are shared among the budgets,
    `train()` trains the gates of the first, and `finalize_all()` gives its model and goes on from there to
    the next. Later stages have trainers of their own (a given optimiser serves the first one's gates only).

    Attributes:
        gates: the gates; `gates.summary(step)` says where they stand.
        plan: what was kept, once finalized.
        history: one entry per logging step: phase, step, expected and target fractions, keeps by kind.
        latency_share: part of the latency that the cut left, as measured (1: no latency budget).
        results: the evaluation metrics "dense" (before), "cut" (right after the cut), "recovered".
        warnings: what makes it doubtful that the gates learned what was meant, a line each.
    """

    phase = "pruning"

    def __init__(
        self, *args: Any, pruning: PruningConfig, graph: PruningGraph | None = None, **kwargs: Any
    ) -> None:
        """Trace the model and attach gates; the arguments are DistillationTrainer's, and two more.

        Args:
            *args: of DistillationTrainer.
            pruning: what is pruned, and how.
            graph: what `trace` of the model gave; None: the model is traced now.
            **kwargs: of DistillationTrainer.

        Raises:
            DistillationError: student and teacher do not fit together.
            BudgetError: the budget cannot be met; nothing was trained.
            PruneError: a setting under which gates would learn something else, such as a given scheduler.
            ModelError, TraceError: the model cannot be pruned.
        """
        given: Any = pruning
        if not isinstance(given, PruningConfig):
            wanted = given if isinstance(given, str) else "macs=50%"
            raise BudgetError(
                f"pruning: found {shown(given)}, wanted prune_ssl.PruningConfig(budget={wanted!r})."
            )
        super().__init__(*args, **kwargs)
        refuse_unsupported(self.args, self.lr_scheduler)
        if pruning.method == "gates":
            refuse_reentrant_arguments(self.args, "gates")
        self._given_callbacks = list(kwargs.get("callbacks") or ())
        refuse_unsupported_sharding(self)
        if self.distiller is not None:
            self.distiller.check_prunable(pruning.kinds)
        model = self.model
        assert isinstance(model, nn.Module)
        self._layerdrop = without_layerdrop(model)
        self.graph: PruningGraph = trace(model) if graph is None else graph
        check_same_model(model, self.graph)
        self.pruning = pruning = from_first(lambda: with_tables(pruning, model, self.graph))
        self.stages = self._planned_stages()
        budget = (*pruning.milestones, pruning.budget)[0]
        self.gates = attach_gates(
            model, self.graph, dataclasses.replace(pruning, budget=budget, milestones=())
        )
        if pruning.method != "gates":
            self.gates.detach()
        self.resuming: str | bool | None = None
        self._told_of_loss = False
        self._finished: Finished | None = None
        self.plan: Plan | None = None
        self.latency_share = 1.0
        self.history: list[dict[str, Any]] = []
        self.results: dict[str, dict[str, float]] = {}
        self.warnings: list[str] = []
        self.add_callback(_AfterStep(self))
        use_budget_progress(self, "pruning")

    # -- gate training

    def own_parameter_groups(self) -> list[dict[str, Any]]:
        """Add two groups: gates and multipliers; no weight decay on either."""
        # Their rate follows from the number of steps, which `create_scheduler` plans and sets.
        return [*super().own_parameter_groups(), *self.gates.parameter_groups(learning_rate=0.0)]

    def learned_beside(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the gates and their multipliers as well."""
        yield from super().learned_beside()
        yield from self.gates.named_parameters(prefix="gates")

    def require_finite_answers(self) -> None:
        """Look at the answers with all gates open."""
        self.gates.hold({})
        super().require_finite_answers()
        self.gates.hold(None)

    def release(self) -> None:
        """Take the gates off the model as well."""
        super().release()
        self.gates.detach()

    def take_hold(self) -> None:
        """Put the gates on the present model as well, until it is cut."""
        super().take_hold()
        if self.plan is None and self.pruning.method == "gates":
            attach(cast(nn.Module, self.model), self.gates)

    def create_scheduler(self, num_training_steps: int, *args: Any, **kwargs: Any) -> Any:
        """Plan the gates, and keep their rates constant.

        A warm-up would delay them, a decay freeze them (pitfall 3).
        """
        self.gates.plan_steps(num_training_steps)
        scheduler = super().create_scheduler(num_training_steps, *args, **kwargs)
        if not isinstance(scheduler, LambdaLR):
            raise BudgetError(
                f"lr_scheduler_type {self.args.lr_scheduler_type!r} cannot leave the gates' learning rate "
                "alone; use linear, cosine, constant, constant_with_warmup, polynomial or inverse_sqrt."
            )
        scheduler.lr_lambdas[-2:] = [constant, constant]
        for index, group in zip((-2, -1), self.gates.parameter_groups(), strict=True):
            rate = group["lr"]
            scheduler.base_lrs[index] = scheduler._last_lr[index] = rate
            scheduler.optimizer.param_groups[index].update(lr=rate, initial_lr=rate)
        return scheduler

    def whole_loss(self, compute_loss: Any, model: nn.Module, inputs: Any, **more: Any) -> Any:
        """Return the loss (the task's, and distillation's) plus the budget's penalty.

        The penalty does not depend on `compute_loss`, which a subclass may have replaced.
        """
        outcome = super().whole_loss(compute_loss, model, inputs, **more)
        penalty = self.gates.penalty(self.state.global_step)
        if isinstance(outcome, tuple):
            return outcome[0] + penalty, *outcome[1:]
        return outcome + penalty

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add where the budget stands to every training log, and keep it in `history`."""
        if "loss" in logs and self.plan is None:
            summary = self.gates.summary(self.state.global_step)
            logs |= summary
            first = self.gates.limits[0].constraint.name
            self.history.append(
                {
                    "phase": "pruning",
                    "step": self.state.global_step,
                    "loss": logs["loss"],
                    "expected": summary[f"expected_{first}"],
                    "target": summary[f"target_{first}"],
                    "keeps": {
                        kind: summary[f"keep_{kind}"]
                        for kind in self.pruning.kinds
                        if f"keep_{kind}" in summary  # the model may have no such units
                    },
                }
            )
        super().log(logs, *args, **kwargs)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the dense model (when there is an eval_dataset), then train weights and gates.

        After `resume_from_checkpoint=True` (the newest checkpoint, or a new start where there is none)
        `finalize` resumes too, and both end as if nothing had happened.

        Raises:
            PruneError: the model was cut already.
        """
        if self.plan is not None:
            raise BudgetError(
                "this trainer has cut its model already; make a new PruningTrainer to prune again."
            )
        self.resuming = resume_from_checkpoint
        if self.pruning.method != "gates":
            return self._train_by_cuts()
        if not resume_from_checkpoint:
            self.on_main(self._forget_earlier_run)
        self.evaluate_dense()
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def evaluate_dense(self) -> None:
        """Note the metrics of the dense model, unless they are known or there is nothing to judge by."""
        if self.eval_dataset is not None and "dense" not in self.results:
            self.gates.hold({})
            self.results["dense"] = self.evaluate(metric_key_prefix="dense")
            self.gates.hold(None)

    # -- the methods without gates

    def _train_by_cuts(self) -> TrainOutput:
        """Cut by the criterion and train what is left, in rounds; the last round trains to the end."""
        if isinstance(self.resuming, str):
            raise PruneError(
                f"method {self.pruning.method!r} resumes from its newest cut and checkpoint: "
                "train(resume_from_checkpoint=True)."
            )
        if self.args.world_size > 1:
            raise PruneError(f"method {self.pruning.method!r} runs on one process; gates run on several.")
        made, steps = train_in_rounds(self, bool(self.resuming))
        self.model = self.model_wrapped = made.model
        self.plan = Plan(made.keep)
        self.state.global_step = steps
        return TrainOutput(steps, 0.0, {})

    # -- the cut and after

    def finalize(self) -> nn.Module:
        """Project the gates to the exact budget, cut, recover, and return the small model.

        The small model becomes `trainer.model`. Calling again returns it.
        """
        *_, last = self.finalize_all()
        return last.model

    def finalize_all(self) -> Iterator[Finished]:
        """Yield the models of the milestones, largest first, and at last that of the budget.

        Each stage starts from what the one before left; the plans are in units of the dense model. Calling
        again yields the last one.
        """
        if self._finished is not None:
            yield self._finished
            return
        if self.stages:
            yield from map(self._noted, finalize_stages(self))
            return
        small = self.cut_and_recovered()
        small, limits = self.handed_over(small), self.gates.limits
        yield self._noted(
            Finished(
                budget_of(limits),
                small,
                self.plan,
                self.results,
                limits,
                self.history,
                warnings=tuple(self.warnings),
            )
        )

    def _noted(self, made: Finished) -> Finished:
        """Note where the run stands; the last model becomes the trainer's."""
        self.plan, self.results, self.history = made.plan, made.results, made.history
        if made.last:
            self.model = self.model_wrapped = made.model
            self._finished = made
        return made

    def cut_and_recovered(self, steps: int | None = None) -> nn.Module:
        """Cut the model, judge it, fine-tune it, judge it again, and return it as it is then.

        Args:
            steps: of recovery (None: what the config says).
        """
        model = self.model
        assert isinstance(model, nn.Module)
        if self.plan is None:
            self._require_learned()
            self.release()
            self.latency_share = self._fit_latency(model)
            self.plan = agreed(project(self.gates, self.gates.lagrangian), self.accelerator)
            model = agreed_weights(resize(model, self.graph, self.plan, inplace=True), self.accelerator)
        if self.distiller is not None:
            self.distiller.attach(model)
        if steps is None:
            steps = round(self.pruning.recovery * (self.state.global_step or self.gates.lagrangian.steps))
        rate = self.pruning.recovery_learning_rate or self.args.learning_rate
        recovery = self.later_trainer(model, steps, RECOVERY, rate)
        recovery.phase += self.phase.removeprefix(PruningTrainer.phase)
        if self.eval_dataset is not None and "cut" not in self.results:
            self.results["cut"] = recovery.evaluate(metric_key_prefix="cut")
        if recovery.args.max_steps > 0:
            recovery.train(resume_from_checkpoint=bool(self.resuming))
            self.note_losses(recovery, "recovery")
            if self.eval_dataset is not None:
                self.results["recovered"] = recovery.evaluate(metric_key_prefix="recovered")
        small = cast(nn.Module, recovery.accelerator.unwrap_model(recovery.model))
        self.release()
        return small

    def _require_learned(self) -> None:
        """Refuse to cut by gates that learned nothing; warn where they may have learned too little.

        Raises:
            GatingError: so it is, or `train()` was not called.
        """
        if not self.gates.learned.asked:
            raise GatingError(
                "finalize() before train(): the gates have learned nothing. Call train() first; to cut "
                "without training, use PruningConfig(method='one_shot') or prune_ssl.select."
            )
        require_learned(self.gates, self.gates.lagrangian)
        for doubt in doubts(self.gates, self.gates.lagrangian):
            self.note(f"{self.title}: {doubt}.")

    def note(self, line: str) -> None:
        """Warn of something, and keep it in `warnings` and in the last entry of the history."""
        self.warnings.append(line)
        if self.history:
            self.history[-1].setdefault("warnings", []).append(line)
        if self.is_world_process_zero():
            warnings.warn(line, PruneWarning, stacklevel=2)

    def _fit_latency(self, model: nn.Module) -> float:
        """Make the table of a latency budget agree with what is measured; return the share that is left.

        What was measured is put aside: a resumed run must make the same cut.
        """
        budget = tuple(limit.constraint for limit in self.gates.limits)
        if all(limit.metric != "latency" for limit in budget):
            return 1.0

        def choose(budget: Budget) -> dict[str, tuple[int, ...]]:
            self.gates.constrain(budget)
            return project(self.gates, self.gates.lagrangian).keep

        path = self._folder / LATENCY_FILE
        if self.resuming and path.is_file():
            fit = load_fit(path, budget)
        else:
            fit = from_first(lambda: fit_latency(model, self.graph, budget, choose))
            if self.args.save_strategy != "no":
                self.on_main(lambda: save_fit(path, fit))
        self.gates.constrain(fit.budget)
        return fit.share

    def handed_over(self, small: nn.Module) -> nn.Module:
        """Return a model that was cut and recovered as its user gets it: in its layout, in eval mode."""
        small = to_stock(small) if self.pruning.layout == "stock" else small
        restore_layerdrop(small, self._layerdrop)
        return small.eval()

    # -- progressive runs

    def _planned_stages(self) -> list[Stage]:
        """Plan the stages of a progressive run, of which this trainer trains the first; none otherwise."""
        if not self.pruning.milestones:
            return []
        planned = planned_steps(self)
        stages = stages_of(self.pruning, self.graph, planned)
        self.args = copy.copy(self.args)  # `replace` would reset the state of this trainer's accelerator
        self.args.max_steps = stages[0].steps
        if self.args.warmup_steps >= 1:  # below that it is a part of the steps; last stages are shortest
            self.args.warmup_steps = self.args.warmup_steps * stages[-1].steps // planned
        return stages

    def stage_trainer(self, small: nn.Module, number: int, latency_share: float) -> "PruningTrainer":
        """Return the trainer of stage `number` (from 1) for what the one before left.

        Args:
            small: that model.
            number: of the stage.
            latency_share: the part of the dense model's latency that it was measured to take.
        """
        stage = self.stages[number - 1]
        graph = trace(small)
        budget = stage.budget(latency_share, self.graph, graph, self.pruning)
        if self.distiller is not None:
            self.distiller.attach(small)
        # A subclass may compute another loss; one with arguments of its own cannot be made here.
        kind = type(self) if type(self).__init__ is PruningTrainer.__init__ else PruningTrainer
        trainer = kind(
            model=small,
            args=dataclasses.replace(
                self.args,
                output_dir=str(self._folder / f"{STAGE}{number}"),
                max_steps=stage.steps,
            ),
            pruning=dataclasses.replace(self.pruning, budget=budget, milestones=()),
            graph=graph,
            **self._handed_on(),
        )
        trainer.phase, trainer.starts_easy = f"{PruningTrainer.phase}-{number}", False
        trainer.results |= {name: found for name, found in self.results.items() if name == "dense"}
        return trainer

    def _forget_earlier_run(self) -> None:
        """Drop what `resume_from_checkpoint` would else take for this run's later phases."""
        if self.args.save_strategy == "no":
            return
        for left in (self._folder / RECOVERY, *self._folder.glob(f"{STAGE}*")):
            remove(left)
        remove(self._folder / LATENCY_FILE)

    @property
    def _folder(self) -> Path:
        return Path(self.args.output_dir or ".")

    def note_losses(
        self,
        trainer: DistillationTrainer,
        phase: str,
        before: int = 0,
    ) -> None:
        """Add the losses that another trainer logged, `before` steps into a phase, to the history."""
        self.history += [
            {"phase": phase, "step": before + entry["step"], "loss": entry["loss"]}
            for entry in trainer.state.log_history
            if "loss" in entry
        ]

    def later_trainer(self, small: nn.Module, steps: int, name: str, rate: float) -> DistillationTrainer:
        """Return a trainer with this one's data and arguments for what a cut left."""
        if type(self).compute_loss is not DistillationTrainer.compute_loss and not self._told_of_loss:
            self._told_of_loss = True
            self.note(
                f"{name}: {type(self).__name__}.compute_loss serves gate training only; this phase learns "
                "from the model's own loss. Give the loss as compute_loss_func, and all phases use it."
            )
        args = dataclasses.replace(
            self.args,
            output_dir=str(self._folder / name),
            max_steps=steps,
            learning_rate=rate,
        )
        trainer = DistillationTrainer(
            model=small,
            args=args,
            **self._handed_on(),
        )
        trainer.phase, trainer.starts_easy = name, False
        use_budget_progress(trainer, name)
        return trainer

    def _handed_on(self) -> dict[str, Any]:
        """Return what trainers of later phases take over."""
        return {
            "data_collator": self.data_collator,
            "train_dataset": self.train_dataset,
            "eval_dataset": self.eval_dataset,
            "processing_class": self.processing_class,
            "compute_metrics": self.compute_metrics,
            "compute_loss_func": self.compute_loss_func,
            "preprocess_logits_for_metrics": self.preprocess_logits_for_metrics,
            "callbacks": self._given_callbacks,
            "distiller": self.distiller,
        }

    # -- checkpoints

    def save_extra(self, folder: Path) -> None:
        """Write gates, multipliers, where the schedule stands, results and history."""
        super().save_extra(folder)
        save_gates(folder, self.gates, {"results": self.results, "history": self.history})

    def load_extra(self, folder: Path) -> None:
        """Read what `save_extra` wrote."""
        super().load_extra(folder)
        progress = load_gates(folder, self.gates)
        self.results, self.history = progress["results"], progress["history"]
