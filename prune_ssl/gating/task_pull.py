"""TaskPull: how hard the task pulls on the gates, measured at each backward pass."""

from dataclasses import dataclass
from math import isfinite

import torch

from prune_ssl.gating.processes import mean_over_processes

SMOOTHING = 0.9  # of the measured size of the task's gradient, per backward pass
SPIKE = 3.0  # times its usual size, at which the task's gradient on the gates is clipped


@dataclass
class TaskPull:
    """The L1 norm of the task loss's gradient on log_alpha, smoothed over backward passes."""

    smoothed: float | None = None
    """Of the loss without its scale; None until the first backward pass was followed."""
    measured: float | None = None
    """That of the last backward pass, with its scale, until `follow` takes it."""
    loss_scale: float = 1.0
    """The factor that gradient accumulation and fp16 scaling put on the loss."""

    def note_scale(self, gradient: torch.Tensor) -> None:
        """Take the gradient of the penalty: whatever multiplies the loss multiplies the task's part too."""
        self.loss_scale = float(gradient)

    def note(self, gradient: torch.Tensor) -> torch.Tensor:
        """Average the task's gradient on the gates over processes, measure it, and clip a spike of it.

        One bad batch can make it a hundred times larger than usual. Adam divides by the sizes that it
        remembers, so after such a spike it would hardly move the gates for the rest of a short run.

        Args:
            gradient: of the task loss by log_alpha, (units,), on this process.

        Returns:
            The gradient that the gates are to get, (units,).
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
        """Smooth the size that the last backward pass measured; only now is its loss scale surely known."""
        if self.measured is not None and isfinite(pull := self.measured / (self.loss_scale or 1.0)):
            smoothed = pull if self.smoothed is None else self.smoothed
            self.smoothed = SMOOTHING * smoothed + (1 - SMOOTHING) * pull
        self.measured = None
