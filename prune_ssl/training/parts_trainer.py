"""PartsTrainer: a transformers.Trainer that trains its model together with parts."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any, cast

import torch
from torch import nn
from transformers import Trainer

from prune_ssl.distillation import LENGTHS, TEACHER_AUDIO, TEACHER_NORMALIZED
from prune_ssl.training.part import ComputeLoss, Inputs, LossAndOutputs, ParameterGroup, Part

NOT_FOR_THE_MODEL = (LENGTHS, TEACHER_AUDIO, TEACHER_NORMALIZED)
"""In batches, for parts only."""
SAMPLES = "input_values"
"""What an item of a data set of clips calls its samples."""


Outcome = torch.Tensor | tuple[torch.Tensor, object]
"""A loss, or the loss and the outputs."""


class PartsTrainer(Trainer):
    """A `transformers.Trainer` whose parts learn with its model.

    Attributes:
        parts: in the order in which they were added; the optimiser has their groups in this order, too.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.parts: list[Part] = []
        super().__init__(*args, **kwargs)

    def add_part(self, part: Part) -> None:
        """Train with a part, which is attached to the model already."""
        self.parts.append(part)
        for callback in part.callbacks():
            self.add_callback(callback)

    def attach_parts(self) -> None:
        """Attach all parts to the present model."""
        for part in self.parts:
            part.attach(cast(nn.Module, self.model))

    def detach_parts(self) -> None:
        """Detach all parts from the model, so that it can be deep-copied."""
        for part in self.parts:
            part.detach()

    # -- what is learned

    def own_parameter_groups(self) -> list[ParameterGroup]:
        """Return optimiser groups of what is learned beside the model: every process holds all of it."""
        return [group for part in self.parts for group in part.parameter_groups()]

    def learned_beside(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield what is learned beside the model, by name."""
        for part in self.parts:
            yield from part.learned()

    def create_scheduler(self, num_training_steps: int, *args: Any, **kwargs: Any) -> Any:
        """Add what is learned beside the model first; FSDP swaps all that was in the optimiser before."""
        for part in self.parts:
            part.plan_steps(num_training_steps)
        optimizer = cast(torch.optim.Optimizer, self.optimizer)
        known = {id(each) for group in optimizer.param_groups for each in group["params"]}
        for group in self.own_parameter_groups():
            parameters = cast("list[nn.Parameter]", group["params"])
            if not known.intersection(map(id, parameters)):  # a second train() keeps its optimiser
                optimizer.add_param_group(group)
        scheduler = super().create_scheduler(num_training_steps, *args, **kwargs)
        for part in self.parts:
            part.adjust_scheduler(scheduler)
        return scheduler

    # -- a step

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, *args: Any, **kwargs: Any
    ) -> Any:
        """Return the model's own loss with those of the parts; evaluation gives the model's own, if it can.

        Batches may hold `input_lengths` (B,), samples without padding, and `teacher_input_values` (B, N),
        the teacher's audio, with `teacher_normalized_values` beside it. The model does not see them.
        """

        def own(inputs: Inputs) -> LossAndOutputs:
            given = {name: value for name, value in inputs.items() if name not in NOT_FOR_THE_MODEL}
            found = super(PartsTrainer, self).compute_loss(model, given, True, *args, **kwargs)
            return cast(LossAndOutputs, found)

        compute: ComputeLoss = own
        for part in self.parts:
            compute = partial(part.compute_loss, model, inner=compute)
        loss, outputs = compute(inputs)
        return (loss, outputs) if return_outputs else loss

    def whole_loss(
        self,
        compute_loss: Callable[..., Outcome],
        model: nn.Module,
        inputs: Inputs,
        *args: Any,
        **kwargs: Any,
    ) -> Outcome:
        """Return the loss that a training step goes backward from: `compute_loss`, and the parts' penalties.

        `FiniteTrainer.training_step` calls it in place of `compute_loss`.
        A penalty does not depend on `compute_loss`, which a subclass may have replaced.

        Args:
            compute_loss: that of the trainer.
            model: as `compute_loss` takes it.
            inputs: the batch.
            *args: other arguments of `compute_loss`.
            **kwargs: the same.

        Raises:
            DistillationError: a subclass computes another loss, without that of its teacher.
        """
        with ExitStack() as stack:
            for part in self.parts:
                stack.enter_context(part.requiring_loss(type(self).__name__))
            outcome = compute_loss(model, inputs, *args, **kwargs)
        for part in self.parts:
            penalty = part.penalty(self.state.global_step)
            if penalty is None:
                continue
            outcome = (outcome[0] + penalty, outcome[1]) if isinstance(outcome, tuple) else outcome + penalty
        return outcome

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add what the parts say to the logs of training steps."""
        if "loss" in logs:
            for part in reversed(self.parts):
                part.log(logs, self.state.global_step)
        super().log(logs, *args, **kwargs)

    def _set_signature_columns_if_needed(self) -> None:
        # Trainer drops what the model's forward does not take from every item. Samples are for the teacher,
        # and for a collator that makes features of them.
        super()._set_signature_columns_if_needed()
        columns = cast("list[str]", self._signature_columns)
        columns += [name for name in (SAMPLES, TEACHER_AUDIO) if name not in columns]
