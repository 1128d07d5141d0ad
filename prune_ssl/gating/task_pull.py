"""TaskPull: measures at each backward pass how hard the task pulls on the gates."""

from math import inf, isnan, nan

import torch

from prune_ssl.gating.processes import mean_over_processes
from prune_ssl.tracing.cost import widest

SMOOTHING = 0.9
"""The part of the smoothed pull that stays at each backward pass."""
SPIKE = 3.0
"""The multiple of its usual size at which the gradient of the task on the gates is clipped."""


class TaskPull:
    """The L1 norm of the task loss's gradient on log_alpha, smoothed over backward passes.

    All is kept in tensors, for whose values no host waits; the properties read them.
    """

    def __init__(self) -> None:
        self._smoothed: torch.Tensor | None = None
        self._measured: torch.Tensor | None = None
        self._loss_scale = torch.ones(())

    @property
    def smoothed(self) -> float | None:
        """The norm for the loss without its scale; None until `follow` has taken a backward pass."""
        return _number(self._smoothed)

    @smoothed.setter
    def smoothed(self, value: float | None) -> None:
        self._smoothed = None if value is None else torch.tensor(value, dtype=torch.float64)

    @property
    def measured(self) -> float | None:
        """The norm of the last backward pass, with the scale of the loss, until `follow` takes it."""
        return _number(self._measured)

    @measured.setter
    def measured(self, value: float | None) -> None:
        self._measured = None if value is None else torch.tensor(value, dtype=torch.float64)

    @property
    def loss_scale(self) -> float:
        """The factor that gradient accumulation and fp16 scaling put on the loss."""
        return float(self._loss_scale)

    @loss_scale.setter
    def loss_scale(self, value: float) -> None:
        self._loss_scale = torch.tensor(value, dtype=torch.float64)

    def note_scale(self, gradient: torch.Tensor) -> None:
        """Take the scale of the loss from the gradient of the penalty, which is scaled like the task loss."""
        self._loss_scale = gradient.detach()

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
        widest_of_device = torch.float32 if gradient.device.type == "mps" else torch.float64
        measured = torch.linalg.vector_norm(gradient, 1, dtype=widest_of_device)
        usual = self.usual(gradient.device)
        if usual is None:
            self._measured = measured
            return gradient
        spikes = measured / (SPIKE * usual * self._loss_scale.to(gradient.device, _narrow(gradient.device)))
        # Nothing is clipped while the usual size is 0 or not known.
        spikes = spikes.nan_to_num_(nan=1.0, posinf=1.0).clamp_(min=1)
        self._measured = measured / spikes
        clipped: torch.Tensor = gradient / spikes
        return clipped

    def usual(self, device: torch.device) -> torch.Tensor | None:
        """Return `smoothed` as a scalar on a device: NaN if no finite gradient was seen, None before any."""
        if self._smoothed is not None and self._smoothed.device != device:
            self._smoothed = widest(self._smoothed.to(device, _narrow(device)))
        return self._smoothed

    def follow(self) -> None:
        """Smooth the norm that the last backward pass measured; now its loss scale is surely known."""
        if self._measured is None:
            return
        device = self._measured.device
        pull, usual = self._measured / self._loss_scale.to(device, _narrow(device)), self.usual(device)
        unknown = torch.full_like(pull, nan) if usual is None else usual
        after = torch.lerp(torch.where(unknown.isnan(), pull, unknown), pull, 1 - SMOOTHING)
        self._smoothed, self._measured = torch.where(pull < inf, after, unknown), None


def _narrow(device: torch.device) -> torch.dtype | None:
    """Return the dtype in which a number goes to a device; None: its own."""
    return torch.float32 if device.type == "mps" else None


def _number(value: torch.Tensor | None) -> float | None:
    found = None if value is None else float(value)
    return None if found is None or isnan(found) else found
