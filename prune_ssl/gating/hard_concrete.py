"""The hard-concrete distribution (Louizos et al. 2018; methods 2.1) as pure functions of log_alpha."""

import math
from typing import Any

import torch
from torch.autograd.function import once_differentiable

LOW, HIGH = -0.1, 1.1
"""The interval to which the sigmoid is stretched."""
TEMPERATURE = 2 / 3
EPSILON = 1e-6
SHIFT = TEMPERATURE * math.log(-LOW / HIGH)
"""P(z > 0) = sigmoid(log_alpha - SHIFT)."""
CLAMP = math.log(100.0)
"""The bound of CoFi on |log_alpha|, beyond which a gate would stop learning."""


def gate_value(log_alpha: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Return the gate clamp(s (HIGH - LOW) + LOW, 0, 1) for noise `uniform` in (0, 1), of one shape."""
    return _gate_of_logistic(log_alpha, _logistic(uniform))


def _logistic(uniform: torch.Tensor) -> torch.Tensor:
    return torch.log(uniform) - torch.log1p(-uniform)


def _gate_of_logistic(log_alpha: torch.Tensor, logistic: torch.Tensor) -> torch.Tensor:
    stretched = torch.sigmoid((logistic + log_alpha) / TEMPERATURE) * (HIGH - LOW) + LOW
    return stretched.clamp(0, 1)


def sample(log_alpha: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """Draw one gate per unit, differentiable in `log_alpha` (units,).

    The noise is drawn on the generator's device, so that one of the CPU gives the same gates on all devices.
    """
    place = log_alpha.device if generator is None else generator.device
    uniform = torch.rand(log_alpha.shape, dtype=log_alpha.dtype, device=place, generator=generator)
    noise = _logistic(uniform.clamp_(EPSILON, 1 - EPSILON))
    there = noise.to(log_alpha.device, non_blocking=True)
    gates: torch.Tensor = _Sample.apply(log_alpha, there)  # type: ignore[no-untyped-call]
    return gates


class _Sample(torch.autograd.Function):
    """`_gate_of_logistic` in fewer operations: `apply(log_alpha, logistic)`."""

    @staticmethod
    def forward(ctx: Any, log_alpha: torch.Tensor, logistic: torch.Tensor) -> torch.Tensor:
        """Return the gates, (units,)."""
        steep = (logistic + log_alpha).div_(TEMPERATURE).sigmoid_()
        stretched = (steep * (HIGH - LOW)).add_(LOW)
        ctx.save_for_backward(steep, stretched)
        return stretched.clamp(0, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return the gradient of log_alpha: 0 where a gate is wholly open or closed."""
        steep, stretched = ctx.saved_tensors
        inside = torch.ops.aten.hardtanh_backward(gradient, stretched, 0, 1)
        return torch.ops.aten.sigmoid_backward(inside, steep).mul_((HIGH - LOW) / TEMPERATURE), None


def keep_probability(log_alpha: torch.Tensor) -> torch.Tensor:
    """Return P(z > 0) = sigmoid(log_alpha - TEMPERATURE log(-LOW / HIGH)), in the shape of log_alpha.

    >>> round(float(keep_probability(torch.tensor(log_alpha_for(0.75)))), 4)
    0.75
    """
    return torch.sigmoid(log_alpha - SHIFT)


FLOOR, CEILING = (1 / (1 + math.exp(SHIFT - end)) for end in (-CLAMP, CLAMP))
"""P(z > 0) of a gate at either bound: 0.047 and 0.998."""


def open_share(log_alpha: torch.Tensor) -> torch.Tensor:
    """Return P(z > 0) scaled so that it is 0 at the lower bound of log_alpha and 1 at the upper, same shape.

    The bounds keep P between FLOOR and CEILING. Without this scale a closed gate would count as 0.047 units:
    1,152 closed neurons as 54, which no step of training can remove.
    """
    return (keep_probability(log_alpha.clamp(-CLAMP, CLAMP)) - FLOOR) / (CEILING - FLOOR)


def mean_when_open(log_alpha: torch.Tensor, points: int = 64) -> torch.Tensor:
    """Return E[z | z > 0] by midpoint quantiles, in the shape of log_alpha.

    This is the scale of a unit that stays; a cut folds it into the weights. (DPHuBERT uses the empirical
    sigmoid(0.8 log_alpha / temperature), which never reaches 1.)
    """
    closed = 1 - keep_probability(log_alpha)
    quantiles = (torch.arange(points, dtype=log_alpha.dtype, device=log_alpha.device) + 0.5) / points
    # z grows with the noise, so that z > 0 is the upper part of the range of the noise.
    noise = closed.unsqueeze(-1) + (1 - closed.unsqueeze(-1)) * quantiles
    values = gate_value(log_alpha.unsqueeze(-1), noise.clamp(EPSILON, 1 - EPSILON))
    return values.mean(-1)


def log_alpha_for(probability: float) -> float:
    """Return the log_alpha whose keep probability is `probability`."""
    return math.log(probability / (1 - probability)) + SHIFT
