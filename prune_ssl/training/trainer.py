"""PruningTrainer: gate training as a transformers.Trainer, then finalize (cut) and recovery."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
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

from prune_ssl.errors import BudgetError, PruneError
from prune_ssl.gating import Plan, PruningConfig, attach_gates, reattach
from prune_ssl.profiling import with_latency
from prune_ssl.resizing import resize, to_stock
from prune_ssl.selection import Limit
from prune_ssl.tracing import PruningGraph, trace
from prune_ssl.training.checkpoints import (
    load_gates,
    load_moment,
    moment_of,
    save_gates,
    save_moment,
)
from prune_ssl.training.cutting import agreed, milestone_recovery
from prune_ssl.training.distilling import DistillationTrainer
from prune_ssl.training.processes import from_first, launched
from prune_ssl.training.progress import use_budget_progress
from prune_ssl.training.rounds import train_in_rounds
from prune_ssl.training.sharding import agreed_weights, refuse_unsupported_sharding


@dataclass(frozen=True)
class Finished:
    """One of the models of a run, and what it was asked to keep."""

    budget: str
    model: nn.Module
    plan: Plan | None
    """None: nothing was pruned, it is a student."""
    results: dict[str, dict[str, float]] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    """The budget, resolved."""


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
        ends = self.trainer.gates.milestone_steps
        if state.global_step in ends:
            path, model = self.trainer.milestone_file(ends.index(state.global_step)), self.trainer.model
            moment = moment_of(cast(nn.Module, model), self.trainer.gates)
            self.trainer.on_main(lambda: save_moment(path, moment))


class PruningTrainer(DistillationTrainer):
    """A `transformers.Trainer` that learns under a budget which units should go.

    `train()` trains weights and gates jointly: task loss + augmented Lagrangian (HJ-Pruning, methods 3), and
    the losses of a DistillationConfig (DPHuBERT, methods 4), in recovery too; the teacher is by default the
    dense model. `finalize()` projects the gates to the exact budget, cuts the model, fine-tunes the small
    one (`PruningConfig.recovery`) and returns it. Recovery has a trainer of its own with the same arguments,
    data, callbacks, collator and `compute_loss_func`; a given optimiser, and a `compute_loss` of a subclass,
    serve gate training only. With `PruningConfig.method` "iterative" or "one_shot" `train()` cuts by a
    criterion instead, and all training is like that of recovery; with `milestones` `finalize_all()` gives a
    model for each. Under several processes all draw the same gates and make the same cut.

    Attributes:
        gates: the gates; `gates.summary(step)` says where they stand.
        plan: what was kept, once finalized.
        history: one entry per logging step: phase, step, expected and target fractions, keeps by kind.
        results: the evaluation metrics "dense" (before), "cut" (right after the cut), "recovered".
    """

    phase = "pruning"

    def __init__(self, *args: Any, pruning: PruningConfig, **kwargs: Any) -> None:
        """Trace the model and attach gates; the arguments are DistillationTrainer's, and `pruning`.

        Raises:
            DistillationError: student and teacher do not fit together.
            BudgetError: the budget cannot be met; nothing was trained.
            PruneError: a setting under which gates would learn something else, such as a given scheduler.
            ModelError, TraceError: the model cannot be pruned.
        """
        super().__init__(*args, **kwargs)
        _refuse_unsupported(self.args, self.lr_scheduler)
        self._given_callbacks = list(kwargs.get("callbacks") or ())
        refuse_unsupported_sharding(self)
        if self.distiller is not None:
            self.distiller.check_prunable(pruning.kinds)
        model = self.model
        assert isinstance(model, nn.Module)
        self._layerdrop = _without_layerdrop(model)
        self.graph: PruningGraph = trace(model)
        self.pruning = pruning = from_first(lambda: _with_tables(pruning, model, self.graph))
        self.gates = attach_gates(model, self.graph, pruning)
        if pruning.method != "gates":
            self.gates.detach()
        self._resuming: str | bool | None = None
        self._finished = False
        self.plan: Plan | None = None
        self.history: list[dict[str, Any]] = []
        self.results: dict[str, dict[str, float]] = {}
        self.add_callback(_AfterStep(self))
        use_budget_progress(self, "pruning")

    # -- gate training

    def own_parameter_groups(self) -> list[dict[str, Any]]:
        """Add two groups: gates and multipliers; no weight decay on either."""
        # Their rate follows from the number of steps, which `create_scheduler` plans and sets.
        return [*super().own_parameter_groups(), *self.gates.parameter_groups(learning_rate=0.0)]

    def release(self) -> None:
        """Take the gates off the model as well."""
        super().release()
        self.gates.detach()

    def take_hold(self) -> None:
        """Put the gates on the present model as well, until it is cut."""
        super().take_hold()
        if self.plan is None and self.pruning.method == "gates":
            reattach(cast(nn.Module, self.model), self.gates)

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
        scheduler.lr_lambdas[-2:] = [_constant, _constant]
        for index, group in zip((-2, -1), self.gates.parameter_groups(), strict=True):
            rate = group["lr"]
            scheduler.base_lrs[index] = scheduler._last_lr[index] = rate
            scheduler.optimizer.param_groups[index].update(lr=rate, initial_lr=rate)
        return scheduler

    def compute_loss(self, model: nn.Module, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the loss (the task's, and distillation's) plus, in training, the budget's penalty."""
        outcome = super().compute_loss(model, inputs, *args, **kwargs)
        if not model.training or self.plan is not None:
            return outcome
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
        self._resuming = resume_from_checkpoint
        if self.pruning.method != "gates":
            return self._train_by_cuts()
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
        if isinstance(self._resuming, str):
            raise PruneError(
                f"method {self.pruning.method!r} resumes from its newest cut and checkpoint: "
                "train(resume_from_checkpoint=True)."
            )
        if self.args.world_size > 1:
            raise PruneError(f"method {self.pruning.method!r} runs on one process; gates run on several.")
        made, steps = train_in_rounds(self, bool(self._resuming))
        self.model = self.model_wrapped = made.model
        self.plan = Plan(made.keep)
        self.state.global_step = steps
        return TrainOutput(steps, 0.0, {})

    # -- the cut and after

    def finalize(self) -> nn.Module:
        """Project the gates to the exact budget, cut, recover, and return the small model.

        The small model becomes `trainer.model`. Calling again returns it.
        """
        model = self.model
        assert isinstance(model, nn.Module)
        if self._finished:
            return model
        if self.plan is None:
            self.plan = agreed(self.gates.finalize(), self.accelerator)
            self.release()
            model = agreed_weights(resize(model, self.graph, self.plan, inplace=True), self.accelerator)
        small = self._recovered(model, "recovery", 1.0, self.results, self.history)
        self.model = self.model_wrapped = small
        self._finished = True
        return small

    def finalize_all(self) -> Iterator[Finished]:
        """Yield the models of the milestones, largest first, and at last that of the budget.

        Each is cut from the weights that the run had when its target had been held, and recovers briefly.
        """
        model = self.model
        assert isinstance(model, nn.Module)
        self.release()
        last = {name: value.detach().clone() for name, value in model.state_dict().items()}
        gates = self.gates.log_alpha.detach().clone()
        for index, milestone in enumerate(self.gates.milestones):
            load_moment(self.milestone_file(index), model, self.gates)
            plan = agreed(self.gates.finalize(index), self.accelerator)
            small = agreed_weights(resize(model, self.graph, plan), self.accelerator)
            results = {"dense": self.results["dense"]} if "dense" in self.results else {}
            share = milestone_recovery(self.pruning.recovery, len(self.gates.milestones))
            small = self._recovered(small, f"recovery-{index + 1}", share, results, [])
            budget = ",".join(str(limit.constraint) for limit in milestone)
            yield Finished(budget, small, plan, results, tuple(milestone))
        model.load_state_dict(last)
        with torch.no_grad():
            self.gates.log_alpha.copy_(gates)
        small = self.finalize()
        assert self.plan is not None
        budget = ",".join(str(limit.constraint) for limit in self.gates.limits)
        yield Finished(budget, small, self.plan, self.results, self.gates.limits)

    def _recovered(
        self,
        small: nn.Module,
        name: str,
        share: float,
        results: dict[str, dict[str, float]],
        history: list[dict[str, Any]],
    ) -> nn.Module:
        """Judge the cut model, fine-tune it for a share of the recovery steps, judge it again; return it."""
        if self.distiller is not None:
            self.distiller.attach(small)
        steps = round(share * self.pruning.recovery * (self.state.global_step or self.gates.steps))
        rate = self.pruning.recovery_learning_rate or self.args.learning_rate
        recovery = self.later_trainer(small, steps, name, rate)
        if self.eval_dataset is not None and "cut" not in results:
            results["cut"] = recovery.evaluate(metric_key_prefix="cut")
        if recovery.args.max_steps > 0:
            recovery.train(resume_from_checkpoint=bool(self._resuming))
            self.note_losses(recovery, "recovery", 0, history)
            if self.eval_dataset is not None:
                results["recovered"] = recovery.evaluate(metric_key_prefix="recovered")
        small = cast(nn.Module, recovery.accelerator.unwrap_model(recovery.model))
        self.release()
        small = to_stock(small) if self.pruning.layout == "stock" else small
        _restore_layerdrop(small, self._layerdrop)
        return small.eval()

    def note_losses(
        self,
        trainer: DistillationTrainer,
        phase: str,
        before: int,
        history: list[dict[str, Any]] | None = None,
    ) -> None:
        """Add the losses that another trainer logged, `before` steps into a phase, to a history."""
        kept = self.history if history is None else history
        kept += [
            {"phase": phase, "step": before + entry["step"], "loss": entry["loss"]}
            for entry in trainer.state.log_history
            if "loss" in entry
        ]

    def later_trainer(self, small: nn.Module, steps: int, name: str, rate: float) -> DistillationTrainer:
        """Return a trainer with this one's data and arguments for what a cut left."""
        args = dataclasses.replace(
            self.args,
            output_dir=str(Path(self.args.output_dir or ".") / name),
            max_steps=steps,
            learning_rate=rate,
        )
        trainer = DistillationTrainer(
            model=small,
            args=args,
            data_collator=self.data_collator,
            train_dataset=self.train_dataset,
            eval_dataset=self.eval_dataset,
            processing_class=self.processing_class,
            compute_metrics=self.compute_metrics,
            compute_loss_func=self.compute_loss_func,
            preprocess_logits_for_metrics=self.preprocess_logits_for_metrics,
            callbacks=self._given_callbacks,
            distiller=self.distiller,
        )
        trainer.phase, trainer.starts_easy = name, False
        use_budget_progress(trainer, name)
        return trainer

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

    def milestone_file(self, index: int) -> Path:
        """Where weights and gates of a milestone are put aside, for `finalize_all` to make a model of."""
        return Path(self.args.output_dir or ".") / f"milestone-{index + 1}.safetensors"


def _with_tables(pruning: PruningConfig, model: nn.Module, graph: PruningGraph) -> PruningConfig:
    """Give latency budgets what this machine takes."""
    budget, *milestones = (
        with_latency(each, model, graph, pruning.seconds) for each in (pruning.budget, *pruning.milestones)
    )
    return dataclasses.replace(pruning, budget=budget, milestones=tuple(milestones))


def _refuse_unsupported(args: TrainingArguments, scheduler: Any) -> None:
    """Refuse settings under which gates would silently learn something else."""
    problems = {
        "DataParallel (one process, several GPUs; use torchrun)": args.n_gpu > 1,
        "DeepSpeed": args.deepspeed is not None,
        "load_best_model_at_end (it would put early weights under late gates)": args.load_best_model_at_end,
        "torch_compile": args.torch_compile,
        "a learning rate scheduler of its own, which would move the gates' rates too (choose one by "
        "lr_scheduler_type)": scheduler is not None,
        f"{launched()} processes that know nothing of each other (without a GPU, set use_cpu=True and "
        "ddp_backend='gloo' in the TrainingArguments)": launched() > args.world_size,
    }
    for name, found in problems.items():
        if found:
            raise PruneError(f"PruningTrainer does not support {name} yet: train without it.")


def _constant(_step: int) -> float:
    return 1.0


def _without_layerdrop(model: nn.Module) -> float | None:
    """Switch LayerDrop off while gates train (a dropped layer tells its gates nothing); return its value."""
    config = getattr(model, "config", None)
    value = getattr(config, "layerdrop", None)
    if value is not None:
        config.layerdrop = 0.0  # type: ignore[union-attr]
    return value


def _restore_layerdrop(model: nn.Module, value: float | None) -> None:
    if value is not None:
        model.config.layerdrop = value  # type: ignore[union-attr]
