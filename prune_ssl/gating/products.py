"""Products: the effective parameters of all modules, made once for each draw.

Modules that are alike have their parameters stacked and multiplied by all their factors at once. A GPU then
launches a few kernels for each shape of a weight, not for each module.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.distributed.tensor import DTensor

from prune_ssl.gating.modules import factors_of
from prune_ssl.gating.wiring import COLUMNS, AxisGate, Product, Stack, WeightGate
from prune_ssl.models.torch_internals import own_parameter, version_of

APART_ON = {"cpu"}
"""The types of devices on which each module multiplies its own parameters when it is called. The kernels of a
CPU cost nothing to launch, and stacking copies."""


def clear_products(stacks: Sequence[Stack]) -> None:
    """Let go of the effective parameters of the last draw."""
    for stack in stacks:
        for gate in stack.gates:
            gate.made.clear()


def make_products(stacks: Sequence[Stack]) -> None:
    """Make the effective parameters of all modules, of the factors of the present draw.

    Where the parameters of a stack cannot be stacked, as between forward passes of FSDP, each module makes
    its own when it is called.
    """
    for stack in stacks:
        gates = stack.gates
        for name, kinds in factors_of(gates[0]).items():
            own = [gate.module and own_parameter(gate.module, name) for gate in gates]
            given = [kind for kind in kinds if kind in stack.factors]
            weights = [each for each in own if isinstance(each, torch.Tensor)]
            if not given or len(weights) < len(gates) or not _alike(weights, stack.factors[given[0]]):
                continue
            factors = [_broadcast(stack.factors[kind], kind, weights[0]) for kind in given]
            factor = factors[0] if len(factors) == 1 else factors[0] * factors[1]
            made = _Products.apply(gates, name, factor.to(weights[0].dtype), *weights)  # type: ignore[no-untyped-call]
            for gate, weight, value in zip(gates, weights, made, strict=True):
                gate.made[name] = Product(weight, version_of(weight), value)


def _alike(weights: Sequence[torch.Tensor], factors: torch.Tensor) -> bool:
    first = weights[0]
    return all(
        not isinstance(each, DTensor)
        and (each.shape, each.dtype, each.device) == (first.shape, first.dtype, factors.device)
        for each in weights
    )


def _broadcast(factors: torch.Tensor, kind: str, weight: torch.Tensor) -> torch.Tensor:
    """View (modules, entries) so that it multiplies stacked parameters (modules, out[, in[, kernel]])."""
    before = 1 if kind == COLUMNS else 0
    return factors.view(len(factors), *[1] * before, -1, *[1] * (weight.dim() - 1 - before))


class _Products(torch.autograd.Function):
    """Stacked parameters times factors that broadcast: `apply(gates, name, factors, *parameters)`."""

    @staticmethod
    def forward(
        ctx: Any, gates: Sequence[WeightGate | AxisGate], name: str, factors: torch.Tensor, *own: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Return the product of each parameter."""
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(factors, *own)
        ctx.gates, ctx.name = gates, name
        return (_stack(own) * factors if len(own) == 1 else _stack(own).mul_(factors)).unbind()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of factors and parameters; a parameter that was not used gets none."""
        factors, *own = ctx.saved_tensors
        for gate in ctx.gates:
            gate.made.pop(ctx.name, None)  # they need not live longer than the pass
        given = [each for each in gradients if each is not None]
        if not given:
            return None, None, None, *[None] * len(own)
        zero = torch.zeros_like(given[0]) if len(given) < len(own) else given[0]
        gradient = _stack([zero if each is None else each for each in gradients])
        alone = len(own) == 1
        of_factors = None
        if ctx.needs_input_grad[2]:
            each = _stack(own) * gradient if alone else _stack(own).mul_(gradient)
            of_factors = each.sum_to_size(factors.shape)
        if not any(ctx.needs_input_grad[3:]):
            return None, None, of_factors, *[None] * len(own)
        product = gradient * factors if alone else gradient.mul_(factors)
        parts = zip(gradients, product.unbind(), strict=True)
        of_own = [None if each is None else part for each, part in parts]
        return None, None, of_factors, *of_own


def _stack(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return tensors of one shape as one: a view of a single one, or else a copy."""
    return tensors[0].unsqueeze(0) if len(tensors) == 1 else torch.stack(list(tensors))
