"""PruningTrainer: gate training as a transformers.Trainer, then finalize (cut) and recovery."""

import dataclasses
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

from prune_ssl.errors import BudgetError, PruneError
from prune_ssl.gating import Plan, PruningConfig, attach_gates
from prune_ssl.resizing import resize
from prune_ssl.tracing import PruningGraph, trace
from prune_ssl.training.distilling import DistillationTrainer
from prune_ssl.training.progress import use_budget_progress


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
    dense model.
    `finalize()` projects the gates to the exact budget, cuts the model, fine-tunes the small one
    (`PruningConfig.recovery`) and returns it. Everything a user knows of Trainer works in both.

    Attributes:
        gates: the gates; `gates.summary(step)` says where they stand.
        plan: what was kept, once finalized.
        history: one entry per logging step: phase, step, expected and target fractions, keeps by kind.
        results: the evaluation metrics "dense" (before), "cut" (right after the cut), "recovered".
    """

    def __init__(self, *args: Any, pruning: PruningConfig, **kwargs: Any) -> None:
        """Trace the model and attach gates; the arguments are DistillationTrainer's, and `pruning`.

        Raises:
            DistillationError: student and teacher do not fit together.
            BudgetError: the budget cannot be met; nothing was trained.
            ModelError, TraceError: the model cannot be pruned.
        """
        super().__init__(*args, **kwargs)
        _refuse_unsupported(self.args)
        if self.distiller is not None:
            self.distiller.check_prunable(pruning.kinds)
        self.pruning = pruning
        model = self.model
        assert isinstance(model, nn.Module)
        self._layerdrop = _without_layerdrop(model)
        self.graph: PruningGraph = trace(model)
        self.gates = attach_gates(model, self.graph, pruning)
        self.plan: Plan | None = None
        self.history: list[dict[str, Any]] = []
        self.results: dict[str, dict[str, float]] = {}
        self.add_callback(_AfterStep(self))
        use_budget_progress(self, "pruning")

    # -- gate training

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Add two parameter groups: gates, and multipliers (maximised); no weight decay on either."""
        optimizer: torch.optim.Optimizer = super().create_optimizer(*args, **kwargs)
        # Their rate follows from the number of steps, which Trainer tells only to create_scheduler.
        for group in self.gates.parameter_groups(learning_rate=0.0):
            optimizer.add_param_group(group)
        return optimizer

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
                    "keeps": {kind: summary[f"keep_{kind}"] for kind in self.pruning.kinds},
                }
            )
        super().log(logs, *args, **kwargs)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluate the dense model (when there is an eval_dataset), then train weights and gates.

        Raises:
            PruneError: the model was cut already, or `resume_from_checkpoint` was given (not there yet).
        """
        if resume_from_checkpoint:
            raise PruneError(
                "gate training cannot be resumed yet: its checkpoints hold no gates. Start it anew."
            )
        if self.plan is not None:
            raise BudgetError(
                "this trainer has cut its model already; make a new PruningTrainer to prune again."
            )
        if self.eval_dataset is not None and "dense" not in self.results:
            self.gates.hold({})
            self.results["dense"] = self.evaluate(metric_key_prefix="dense")
            self.gates.hold(None)
        return super().train(None, *args, **kwargs)

    # -- the cut and after

    def finalize(self) -> nn.Module:
        """Project the gates to the exact budget, cut, recover, and return the small model.

        The small model becomes `trainer.model`. Calling again returns it.
        """
        model = self.model
        assert isinstance(model, nn.Module)
        if self.plan is not None:
            return model
        self.plan = self.gates.finalize()
        self.gates.detach()
        small = resize(model, self.graph, self.plan, inplace=True)
        if self.distiller is not None:
            self.distiller.attach(small)
        recovery = self._recovery_trainer(small)
        if self.eval_dataset is not None:
            self.results["cut"] = recovery.evaluate(metric_key_prefix="cut")
        if recovery.args.max_steps > 0:
            recovery.train()
            self.history += [
                {"phase": "recovery", "step": entry["step"], "loss": entry["loss"]}
                for entry in recovery.state.log_history
                if "loss" in entry
            ]
            if self.eval_dataset is not None:
                self.results["recovered"] = recovery.evaluate(metric_key_prefix="recovered")
        small = cast(nn.Module, recovery.accelerator.unwrap_model(recovery.model))
        if self.distiller is not None:
            self.distiller.detach()
        _restore_layerdrop(small, self._layerdrop)
        self.model = self.model_wrapped = small
        return small.eval()

    def _recovery_trainer(self, small: nn.Module) -> DistillationTrainer:
        steps = self.state.global_step or self.gates.steps
        args = dataclasses.replace(
            self.args,
            output_dir=str(Path(self.args.output_dir or ".") / "recovery"),
            max_steps=round(self.pruning.recovery * steps),
            learning_rate=self.pruning.recovery_learning_rate or self.args.learning_rate,
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
            distiller=self.distiller,
        )
        use_budget_progress(trainer, "recovery")
        return trainer


def _refuse_unsupported(args: TrainingArguments) -> None:
    """Refuse settings under which gates would silently learn something else."""
    problems = {
        "several processes or GPUs": args.world_size > 1 or args.n_gpu > 1,
        "load_best_model_at_end (it would put early weights under late gates)": args.load_best_model_at_end,
        "torch_compile": args.torch_compile,
    }
    for name, found in problems.items():
        if found:
            raise PruneError(f"PruningTrainer does not support {name} yet: train on one device without it.")


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
