"""The layer norm over open channels, which saves no more for its gradient than a plain one."""

from typing import Any

import torch
from torch.autograd.function import once_differentiable


class _NormOfOpen(torch.autograd.Function):
    """y = (x - m) r g + b with m and r^-2 - eps the mean and the variance of x under weights w.

    With k = max(sum w, 1): m = sum(w x) / k and v = sum(w (x - m)^2) / k. The input is saved, and three
    numbers for each row; autograd would save five tensors of the input's size.
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
        inverse = (variance + eps).rsqrt_()
        normed *= inverse
        ctx.save_for_backward(values, weights, scale, mean, variance, inverse, count)
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
        values, weights, scale, mean, variance, inverse, count = ctx.saved_tensors
        gradient = gradient.to(values.dtype)
        rows = tuple(range(values.dim() - 1))
        # The products are in autograd's order, so that runs of a seed stay equal to the last bit.
        centred = values - mean
        of_shift = gradient.sum(rows).to(ctx.dtypes[1]) if ctx.needs_input_grad[3] else None
        of_scale = None
        if ctx.needs_input_grad[2]:
            of_scale = (centred * inverse).mul_(gradient).sum(rows).to(ctx.dtypes[0])
        of_normed = gradient if scale is None else gradient * scale
        of_variance = (of_normed * centred).sum(-1, keepdim=True).mul_(-0.5).mul_(inverse.pow(3))
        of_squares = of_variance / count
        of_values = of_normed * inverse
        of_values += (of_squares * weights).mul_(centred * 2)
        of_mean = -of_values.sum(-1, keepdim=True)
        of_sum = of_mean / count
        of_weights = None
        if ctx.needs_input_grad[1]:
            of_weights = (centred.square() * of_squares).sum(rows) + (values * of_sum).sum(rows)
            of_count = (-of_variance * (variance / count)).sum() + (-of_mean * (mean / count)).sum()
            of_weights = of_weights + of_count * (weights.sum() >= 1)
        of_values += of_sum * weights
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
    if torch.compiler.is_compiling():
        # Dynamo gets the gradient of the function above wrong (torch 2.11); a compiler saves what it likes.
        return _as_autograd_sees_it(values, weights, scale, shift, eps)
    found: torch.Tensor = _NormOfOpen.apply(values, weights, scale, shift, eps)  # type: ignore[no-untyped-call]
    return found


def _as_autograd_sees_it(
    values: torch.Tensor,
    weights: torch.Tensor,
    scale: torch.Tensor | None,
    shift: torch.Tensor | None,
    eps: float,
) -> torch.Tensor:
    count = weights.sum().clamp_min(1)
    mean = (values * weights).sum(-1, keepdim=True) / count
    centred = values - mean
    variance = (centred.square() * weights).sum(-1, keepdim=True) / count
    normed = centred * (variance + eps).rsqrt()
    normed = normed if scale is None else normed * scale
    return normed if shift is None else normed + shift
