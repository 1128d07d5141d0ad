"""The layer norm over open channels: one plain layer norm, which saves no more than that for its gradient.

Closed channels are set to the mean of the open ones, and the distances of open ones from it are multiplied by
s = sqrt(channels / open channels). A plain layer norm then finds the mean and the variance of the open ones.
"""

from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable


class OpenRows(NamedTuple):
    """What norms need of their gates, (norms, channels) or (channels,), 0 at closed channels."""

    share: torch.Tensor
    """1 / open channels. The gradient of the gates goes through it alone."""
    reach: torch.Tensor
    """s."""
    inverse: torch.Tensor
    """1 / s."""

    @classmethod
    def of(cls, gates: torch.Tensor) -> "OpenRows":
        """Return the rows of gates (norms, channels); a channel is open where its gate is above 0."""
        return cls(*_OpenRows.apply(gates))  # type: ignore[no-untyped-call]


class _OpenRows(torch.autograd.Function):
    """The three rows; the gradient is straight through: as if a gate were the weight of its channel."""

    @staticmethod
    def forward(ctx: Any, gates: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Map (norms, channels) to three of that shape."""
        opened = gates.sign()  # none is negative
        part = opened.mean(1, keepdim=True).clamp_(min=1 / gates.shape[1])
        root = part.sqrt()
        rows = opened / (part * gates.shape[1]), opened / root, opened * root
        ctx.save_for_backward(rows[0], part, root)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*rows[1:])
        return rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pulls: torch.Tensor | None, *_: None) -> torch.Tensor | None:
        """Return the gradient of the gates from the pulls of `_NormOfOpen`."""
        if pulls is None:
            return None
        share, part, root = ctx.saved_tensors
        found: torch.Tensor = (pulls.mean(1, keepdim=True) / part - pulls).mul_(share).mul_(root)
        return found


class _NormOfOpen(torch.autograd.Function):
    """The norm of values (..., C) over open channels; its outputs at closed channels are the shift.

    With x the normed values before scale and shift, y their gradient, and g the scale: the gradient of the
    weight of a channel is the centred sum over rows of -x (sum(y g) + x sum(y g x) / 2) / open channels.
    """

    @staticmethod
    def forward(
        ctx: Any,
        values: torch.Tensor,
        share: torch.Tensor,
        reach: torch.Tensor,
        inverse: torch.Tensor,
        own: torch.Tensor,
        scale: torch.Tensor,
        shift: torch.Tensor | None,
        eps: float,
    ) -> torch.Tensor:
        """Map (..., C) to (..., C). `own` is the scale of the norm, detached, and `scale` is it over s."""
        with torch.autocast(values.device.type, enabled=False):
            mean = (values @ share).unsqueeze(-1)
            spread = torch.lerp(mean, values, reach)
            normed, *moments = torch.native_layer_norm(spread, spread.shape[-1:], scale, shift, eps)
        ctx.save_for_backward(spread, share, reach, inverse, scale, shift, own, *moments)
        ctx.eps = eps
        return normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of values, gates (as pulls), scale and shift."""
        spread, share, reach, inverse, scale, shift, own, *moments = ctx.saved_tensors
        needed, shape = ctx.needs_input_grad, spread.shape[-1:]
        norm_backward, wanted = torch.ops.aten.native_layer_norm_backward, [needed[0], needed[5], needed[6]]
        with torch.autocast(spread.device.type, enabled=False):
            of_spread, of_scale, of_shift = norm_backward(
                gradient, spread, shape, *moments, scale, shift, wanted
            )
            pulls = None
            if needed[1]:
                normed = torch.native_layer_norm(spread, shape, inverse, None, ctx.eps)[0]
                first, second = (gradient @ own).unsqueeze(-1), ((gradient * normed) @ own).unsqueeze(-1)
                each = torch.addcmul(first, normed, second, value=0.5)
                only_scale = [False, True, False]
                pulls = norm_backward(each, spread, shape, *moments, scale, None, only_scale)[1]
            if needed[0]:
                of_mean = (of_spread @ reach).unsqueeze(-1)
                of_spread = (of_spread * reach).addcmul_(of_mean, share, value=-1)
        return of_spread if needed[0] else None, pulls, None, None, None, of_scale, of_shift, None


def norm_of_open(
    values: torch.Tensor,
    rows: OpenRows,
    scale: torch.Tensor | None,
    shift: torch.Tensor | None,
    eps: float,
    smaller: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the layer norm of values with the statistics of the open channels, (..., C).

    Args:
        values: (..., C).
        rows: those of its gates, (C,) each.
        scale: (C,), that of the norm.
        shift: (C,), that of the norm.
        eps: what is added to the variance.
        smaller: (C,), scale / s, if it is known already.
    """
    of_values = OpenRows(*(row.to(values.dtype) for row in rows))
    own = torch.ones_like(of_values.inverse) if scale is None else scale.detach().to(values.dtype)
    if smaller is None:
        smaller = of_values.inverse if scale is None else of_values.inverse * scale
    given = smaller.to(values.dtype), None if shift is None else shift.to(values.dtype)
    found: torch.Tensor = _NormOfOpen.apply(values, *of_values, own, *given, eps)  # type: ignore[no-untyped-call]
    return found


def norm_as_autograd_sees_it(
    values: torch.Tensor,
    weights: torch.Tensor,
    scale: torch.Tensor | None,
    shift: torch.Tensor | None,
    eps: float,
) -> torch.Tensor:
    """Return the same for weights (C,): 1 for an open channel and 0 for a closed one.

    For compiled models: Dynamo got the gradient of the function above wrong (torch 2.11).
    """
    count = weights.sum().clamp_min(1)
    mean = (values * weights).sum(-1, keepdim=True) / count
    centred = values - mean
    variance = (centred.square() * weights).sum(-1, keepdim=True) / count
    normed = centred * (variance + eps).rsqrt()
    normed = normed if scale is None else normed * scale
    return normed if shift is None else normed + shift
