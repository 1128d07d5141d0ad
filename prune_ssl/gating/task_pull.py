"""TaskPull: measures at each backward pass how hard the task pulls on the gates."""

from dataclasses import dataclass
from math import isfinite

import torch

from prune_ssl.gating.processes import mean_over_processes

SMOOTHING = 0.9
"""The part of the smoothed pull that stays at each backward pass."""
SPIKE = 3.0
"""The multiple of its usual size at which the gradient of the task on the gates is clipped."""


@dataclass
class TaskPull:
    """The L1 norm of the task loss's gradient on log_alpha, smoothed over backward passes."""

    smoothed: float | None = None
    """The norm for the loss without its scale; None until `follow` has taken a backward pass."""
    measured: float | None = None
    """The norm of the last backward pass, with the scale of the loss, until `follow` takes it."""
    loss_scale: float = 1.0
    """The factor that gradient accumulation and fp16 scaling put on the loss."""

    def note_scale(self, gradient: torch.Tensor) -> None:
        """Take the scale of the loss from the gradient of the penalty, which is scaled like the task loss."""
        self.loss_scale = float(gradient)

    def note(self, gradient: torch.Tensor) -> torch.Tensor:
        """Average the gradient of the task on the gates over processes, measure it, and clip a spike of it.

        One bad batch can make the gradient a hundred times larger than usual. Adam divides by the sizes that
        it remembers, so that after a spike it would hardly move the gates for the rest of a short run.

        Args:
            gradient: the gradient of the task loss with respect to log_alpha, (units,), on this process.

        Returns:
            The gradient that the gates get, (units,).
        """
        gradient = mean_over_processes(gradient.detach())
        self.measured = float(gradient.abs().sum())
        usual = (self.smoothed or 0.0) * self.loss_scale
        if usual and self.measured > SPIKE * usual:
            factor = SPIKE * usual / self.measured
            self.measured *= factor
            return gradient * factor
        return gradient

    def follow(self) -> None:
        """Smooth the norm that the last backward pass measured; now its loss scale is surely known."""
        if self.measured is not None and isfinite(pull := self.measured / (self.loss_scale or 1.0)):
            smoothed = pull if self.smoothed is None else self.smoothed
            self.smoothed = SMOOTHING * smoothed + (1 - SMOOTHING) * pull
        self.measured = None
