"""Counting: the expected open units of every group, and how they move with the gates, by few operations."""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from prune_ssl.gating import hard_concrete
from prune_ssl.gating.processes import mean_over_processes
from prune_ssl.gating.segments import segment_sum
from prune_ssl.tracing.cost import widest

BEYOND = hard_concrete.CLAMP * (1 + 1e-6)
"""A gate at its bound still learns; one beyond it does not."""
SPAN = hard_concrete.CEILING - hard_concrete.FLOOR


class CountOpen(torch.autograd.Function):
    """The sum of `open_share` over each group, at least its floor.

    `apply(log_alpha, offsets, owners, floors, per_span)`, where `per_span` is 1 / SPAN on the device.
    Processes may sum in other orders. So the gradient of the counts is the mean over processes; gates that
    got other gradients would drift apart.
    """

    @staticmethod
    def forward(
        ctx: Any,
        log_alpha: torch.Tensor,
        offsets: torch.Tensor,
        owners: torch.Tensor,
        floors: torch.Tensor,
        per_span: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the counts, and the sums of d open_share / d log_alpha (no gradient): (groups,) each."""
        probability = hard_concrete.keep_probability(log_alpha)
        shares = probability.sub(hard_concrete.FLOOR).div_(SPAN).clamp_(0, 1)
        sums = segment_sum(shares, offsets)
        each = torch.ops.aten.sigmoid_backward(per_span, probability)
        slopes = widest(segment_sum(each, offsets))
        ctx.save_for_backward(log_alpha, each, sums >= floors, owners)
        ctx.mark_non_differentiable(slopes)
        ctx.set_materialize_grads(False)
        return sums.maximum(floors), slopes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor, _: None) -> tuple[torch.Tensor | None, ...]:
        """Give each unit the gradient of its group's count, where that is above its floor."""
        log_alpha, each, above, owners = ctx.saved_tensors
        of_units = (mean_over_processes(gradient) * above).index_select(0, owners).mul_(each)
        return torch.ops.aten.hardtanh_backward(of_units, log_alpha, -BEYOND, BEYOND), None, None, None, None


class AugmentedLagrangian(torch.autograd.Function):
    """sum K (lambda_1 v + lambda_2 v^2), whose gradient of the multipliers is negated.

    `apply(multipliers, counts, violations, slopes, scale)`: (limits, 2), (groups,), (limits,) v, (limits,
    groups) its derivatives in the counts, and (limits,) K.
    """

    @staticmethod
    def forward(
        ctx: Any,
        multipliers: torch.Tensor,
        counts: torch.Tensor,
        violations: torch.Tensor,
        slopes: torch.Tensor,
        scale: torch.Tensor,
    ) -> torch.Tensor:
        """Return the penalty, a scalar."""
        first, second = widest(multipliers).unbind(1)
        powers = torch.stack([violations, violations.square()], 1).mul_(scale[:, None])
        pulls = torch.addcmul(first, second, violations, value=2).mul_(scale)
        ctx.save_for_backward(powers, pulls @ slopes)
        ctx.dtypes = multipliers.dtype, counts.dtype
        return (powers * multipliers).sum().to(counts.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of multipliers and counts."""
        powers, of_counts = ctx.saved_tensors
        of_multipliers = mean_over_processes((powers * -gradient).to(ctx.dtypes[0]))
        return of_multipliers, (of_counts * gradient).to(ctx.dtypes[1]), None, None, None
