"""Owns GatedPart: gates that learn with a model under a budget, as a part of a trainer."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from prune_ssl.errors import BudgetError
from prune_ssl.gating import Gates, attach
from prune_ssl.training.checkpoints import load_gates, save_gates
from prune_ssl.training.part import ComputeLoss, Inputs, LossAndOutputs, ParameterGroup, Part
from prune_ssl.training.record import PRUNING, PruningRecord


class GatedPart(Part):
    """Trains gates and multipliers, adds the budget's penalty to every loss, and keeps the history.

    It must be the last part of its trainer: the optimiser's last two groups are the gates' own.
    """

    def __init__(
        self, gates: Gates, record: PruningRecord, kinds: Sequence[str], args: TrainingArguments
    ) -> None:
        # FSDP leaves the model on the CPU until it trains; the gates are needed where it will be then.
        self.gates, self.record, self.kinds, self.args = gates.to(args.device), record, kinds, args

    def callbacks(self) -> Sequence[TrainerCallback]:
        """Return the callback that keeps the gates within their bounds."""
        return (_AfterStep(self.gates),)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return two groups: gates and multipliers; no weight decay on either."""
        # Their rate follows from the number of steps, which `plan_steps` and `adjust_scheduler` set.
        return [*self.gates.parameter_groups(learning_rate=0.0)]

    def learned(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the gates and their multipliers."""
        yield from self.gates.named_parameters(prefix="gates")

    def plan_steps(self, steps: int) -> None:
        """Plan the gates' schedule."""
        self.gates.plan_steps(steps)

    def adjust_scheduler(self, scheduler: LRScheduler) -> None:
        """Keep the gates' rates constant.

        A warm-up would delay the gates, and a decay freeze them (pitfall 3).

        Raises:
            BudgetError: this kind of scheduler cannot leave single groups alone.
        """
        if not isinstance(scheduler, LambdaLR):
            raise BudgetError(
                f"lr_scheduler_type {self.args.lr_scheduler_type!r} cannot leave the gates' learning rate "
                "alone; use linear, cosine, constant, constant_with_warmup, polynomial or inverse_sqrt."
            )
        scheduler.lr_lambdas[-2:] = [_constant, _constant]
        for index, group in zip((-2, -1), self.gates.parameter_groups(), strict=True):
            rate = group["lr"]
            scheduler.base_lrs[index] = scheduler.get_last_lr()[index] = rate
            scheduler.optimizer.param_groups[index].update(lr=rate, initial_lr=rate)

    def compute_loss(self, model: nn.Module, inputs: Inputs, inner: ComputeLoss) -> LossAndOutputs:
        """Return what `inner` gives; the gates are drawn outside a model that the trainer compiled."""
        attachment = self.gates.attachment
        if attachment is None or not self.args.torch_compile:
            return inner(inputs)
        with attachment.drawing_ahead():
            return inner(inputs)

    def penalty(self, step: int) -> torch.Tensor:
        """Return the augmented Lagrangian's penalty of the budget."""
        return self.gates.penalty(step)

    def log(self, logs: dict[str, float], step: int) -> None:
        """Add where the budget stands, and keep it in the history, until the model is cut."""
        if self.record.plan is not None:
            return
        summary = self.gates.summary(step)
        logs |= summary
        first = self.gates.limits[0].constraint.name
        self.record.history.append(
            {
                "phase": PRUNING,
                "step": step,
                **{key: logs[key] for key in ("loss", "learning_rate") if key in logs},
                "expected": summary[f"expected_{first}"],
                "target": summary[f"target_{first}"],
                "open": summary[f"open_{first}"],
                "keeps": {
                    kind: summary[f"keep_{kind}"]
                    for kind in self.kinds
                    if f"keep_{kind}" in summary  # the model may have no such units
                },
            }
        )

    def attach(self, model: nn.Module) -> None:
        """Attach the gates, until the model is cut."""
        if self.record.plan is None:
            attach(model, self.gates)

    def detach(self) -> None:
        """Detach the gates."""
        self.gates.detach()

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Open all gates."""
        self.gates.hold({})
        yield
        self.gates.hold(None)

    def save(self, folder: Path) -> None:
        """Write gates, multipliers, where the schedule stands, and the record."""
        save_gates(folder, self.gates, self.record.progress())

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.record.take(load_gates(folder, self.gates))


class _AfterStep(TrainerCallback):
    """Keeps the gates within their bounds and clears their gradients after every optimiser step.

    Trainer clears the gradients of its model, not those of its optimiser: the gates' would add up for ever.
    """

    def __init__(self, gates: Gates) -> None:
        self.gates = gates

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Clamp, and clear."""
        self.gates.clamp_()
        self.gates.zero_grad()


def _constant(_step: int) -> float:
    """Leave a learning rate as it is."""
    return 1.0
