"""Mixing: a layer's input and output in the share of its gate, by few operations in the backward pass too."""

from typing import Any

import torch
from torch.autograd.function import once_differentiable


class _Mix(torch.autograd.Function):
    """given + gate (made - given): `apply(given, made, gate)`, with one gate."""

    @staticmethod
    def forward(ctx: Any, given: torch.Tensor, made: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
        """Return the mixture, (..., D)."""
        ctx.save_for_backward(given, made, gate)
        return torch.lerp(given, made, gate)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of both and of the gate."""
        given, made, gate = ctx.saved_tensors
        of_gate = None
        if ctx.needs_input_grad[2]:
            of_gate = ((made - given).mul_(gradient)).sum().view(gate.shape)
        of_made = gradient * gate
        return gradient - of_made, of_made, of_gate


def mix(given: torch.Tensor, made: torch.Tensor, gate: torch.Tensor) -> torch.Tensor:
    """Return given + gate (made - given), (..., D).

    Args:
        given: (..., D), what a layer reads.
        made: (..., D), what it gives.
        gate: (1,).

    >>> mix(torch.zeros(2), torch.ones(2), torch.tensor([0.25])).tolist()
    [0.25, 0.25]
    """
    if torch.compiler.is_compiling():
        return torch.lerp(given, made, gate)
    mixed: torch.Tensor = _Mix.apply(given, made, gate)  # type: ignore[no-untyped-call]
    return mixed
