"""Owns the Part: something that learns beside a trainer's model, or that the model learns from."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from transformers import TrainerCallback

Inputs = Mapping[str, torch.Tensor]
"""A batch as the collator made it."""
LossAndOutputs = tuple[torch.Tensor, object]
ComputeLoss = Callable[[Inputs], LossAndOutputs]
ParameterGroup = dict[str, object]
"""One of an optimiser: `params`, and settings such as `lr`."""


class Part:
    """What a `PartsTrainer` trains with its model: gates, or a teacher with projections.

    Every method has a default that does nothing. A trainer asks its parts in the order in which they were
    added.
    """

    def callbacks(self) -> Sequence[TrainerCallback]:
        """Return the callbacks that the trainer gets with the part."""
        return ()

    # -- what is learned

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return optimiser groups of what the part learns: every process holds all of it."""
        return []

    def learned(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield what the part learns, by name."""
        yield from ()

    def plan_steps(self, steps: int) -> None:
        """Take note of the number of optimiser steps, before the scheduler is made."""

    def adjust_scheduler(self, scheduler: LRScheduler) -> None:
        """Change the rates of the part's own groups in the scheduler, once it is made."""

    # -- a step

    def compute_loss(self, model: nn.Module, inputs: Inputs, inner: ComputeLoss) -> LossAndOutputs:
        """Return the loss that `inner` gives for a batch, with losses of the part added, and the outputs."""
        return inner(inputs)

    def requiring_loss(self, trainer: str) -> AbstractContextManager[None]:
        """Refuse, at the end of the context, that the part's `compute_loss` was left out.

        Args:
            trainer: name of the trainer's class, whose user may have replaced `compute_loss`.
        """
        return nullcontext()

    def penalty(self, step: int) -> torch.Tensor | None:
        """Return what is added to the loss of a step whichever way that was computed, a scalar; or None."""
        return None

    def log(self, logs: dict[str, float], step: int) -> None:
        """Add to the logs of training steps, in place."""

    # -- the model

    def attach(self, model: nn.Module) -> None:
        """Attach hooks or gates to the model."""

    def detach(self) -> None:
        """Detach all of them, so that the model can be deep-copied."""

    def at_rest(self) -> AbstractContextManager[None]:
        """Let the model answer as it does without the part, inside the context."""
        return nullcontext()

    # -- checkpoints

    def save(self, folder: Path) -> None:
        """Write what the part must remember into a new checkpoint."""

    def load(self, folder: Path) -> None:
        """Read what `save` wrote; called once the optimiser is there, or where training had ended."""
