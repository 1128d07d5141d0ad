"""The layer norm over open channels, which saves no more for its gradient than a plain one."""

from typing import Any

import torch
from torch.autograd.function import once_differentiable


class _NormOfOpen(torch.autograd.Function):
    """y = (x - m) r g + b with m and r^-2 - eps the mean and the variance of x under weights w.

    With k = max(sum w, 1): m = sum(w x) / k and v = sum(w (x - m)^2) / k. The input is saved, and two numbers
    for each row; autograd would save five tensors of the input's size.
    """

    @staticmethod
    def forward(
        ctx: Any,
        values: torch.Tensor,
        weights: torch.Tensor,
        scale: torch.Tensor | None,
        shift: torch.Tensor | None,
        eps: float,
    ) -> torch.Tensor:
        """Map (..., C), (C,), (C,) or None, (C,) or None to (..., C)."""
        count = weights.sum().clamp_min(1)
        mean = (values * weights).sum(-1, keepdim=True).div_(count)
        normed = values - mean
        variance = normed.square().mul_(weights).sum(-1, keepdim=True).div_(count)
        inverse = variance.add_(eps).rsqrt_()
        normed *= inverse
        ctx.save_for_backward(values, weights, scale, mean, inverse, count)
        ctx.eps = eps
        ctx.dtypes = None if scale is None else scale.dtype, None if shift is None else shift.dtype
        if scale is not None:
            normed = normed.mul_(scale) if scale.dtype == normed.dtype else normed * scale
        if shift is not None:
            normed = normed.add_(shift) if shift.dtype == normed.dtype else normed + shift
        return normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of values, weights, scale and shift."""
        values, weights, scale, mean, inverse, count = ctx.saved_tensors
        gradient = gradient.to(values.dtype)
        rows = tuple(range(values.dim() - 1))
        centred = values - mean
        of_shift = gradient.sum(rows).to(ctx.dtypes[1]) if ctx.needs_input_grad[3] else None
        of_scale = None
        if ctx.needs_input_grad[2]:
            of_scale = (gradient * centred).mul_(inverse).sum(rows).to(ctx.dtypes[0])
        of_normed = gradient if scale is None else gradient * scale
        # d loss / d v of each row, over k, and then d loss / d m, over k
        of_variance = (of_normed * centred).sum(-1, keepdim=True) * inverse.pow(3) * (-0.5 / count)
        centred_weights = centred * weights
        of_values = of_normed * inverse
        of_values += centred_weights * (2 * of_variance)
        of_mean = -of_values.sum(-1, keepdim=True) / count
        of_weights = None
        if ctx.needs_input_grad[1]:
            of_weights = (centred.square() * of_variance + values * of_mean).sum(rows)
            of_count = (of_mean * mean + of_variance * (inverse.pow(-2) - ctx.eps)).sum()
            of_weights = of_weights - of_count * (weights.sum() >= 1)
        of_values += of_mean * weights
        return of_values, of_weights, of_scale, of_shift, None


def norm_of_open(
    values: torch.Tensor,
    weights: torch.Tensor,
    scale: torch.Tensor | None,
    shift: torch.Tensor | None,
    eps: float,
) -> torch.Tensor:
    """Return the layer norm of values with the statistics of the open channels, (..., C).

    Args:
        values: (..., C).
        weights: (C,), 1 for an open channel and 0 for a closed one; the gradient reaches them.
        scale: (C,), that of the norm.
        shift: (C,), that of the norm.
        eps: what is added to the variance.
    """
    found: torch.Tensor = _NormOfOpen.apply(values, weights, scale, shift, eps)  # type: ignore[no-untyped-call]
    return found
