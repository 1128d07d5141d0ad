"""Sums over runs of neighbouring entries that give the same bits each time, on GPUs too.

`index_add` and the gradient of `index_select` add in any order on CUDA. Two processes, or two runs, would
then learn different gates.
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable


def segment_sum(values: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """Return the sums of values between neighbouring offsets, in order, without a gradient.

    Args:
        values: (entries,).
        offsets: (segments + 1,) whole numbers from 0 to the number of entries, none below the one before.

    Returns:
        (segments,); the sum of an empty segment is 0.

    >>> segment_sum(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 1, 1, 3])).tolist()
    [1.0, 0.0, 5.0]
    """
    if values.device.type == "mps":  # it has no such kernel
        return _by_cumulative_sums(values, offsets)
    return torch.segment_reduce(values.detach(), "sum", offsets=offsets, unsafe=True, initial=0)


def _by_cumulative_sums(values: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    sums = torch.cat([values.new_zeros(1), values.detach().cumsum(0)])[offsets]
    return sums[1:] - sums[:-1]


class SumOfSegments(torch.autograd.Function):
    """`segment_sum` with a gradient: `apply(values, offsets, segment_of_entry)`."""

    @staticmethod
    def forward(
        ctx: Any, values: torch.Tensor, offsets: torch.Tensor, segment_of_entry: torch.Tensor
    ) -> torch.Tensor:
        """Map (entries,) to (segments,)."""
        ctx.save_for_backward(segment_of_entry)
        return segment_sum(values, offsets)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Give each entry the gradient of its sum."""
        (segment_of_entry,) = ctx.saved_tensors
        return gradient.index_select(0, segment_of_entry), None, None


class Gather(torch.autograd.Function):
    """values[index] whose gradient is summed in order: `apply(values, index, order, offsets)`.

    `order` sorts the index, and `offsets` say where each value begins in the sorted one.
    """

    @staticmethod
    def forward(
        ctx: Any, values: torch.Tensor, index: torch.Tensor, order: torch.Tensor, offsets: torch.Tensor
    ) -> torch.Tensor:
        """Map (units,) to (entries,)."""
        ctx.save_for_backward(order, offsets)
        return values.index_select(0, index)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Sum the gradient over the entries of each unit."""
        order, offsets = ctx.saved_tensors
        return segment_sum(gradient.index_select(0, order), offsets), None, None, None
