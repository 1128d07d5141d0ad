"""Effective parameters that are made together are those that each module makes, in value and gradient."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from prune_ssl.gating.modules import FactorLinear, swap_class
from prune_ssl.gating.products import clear_products, make_products
from prune_ssl.gating.wiring import WeightGate, Wiring

UNITS, MODULES = 4, 3


class Source:
    """Gates of a group of units and of a block."""

    def __init__(self) -> None:
        self.spans = {"units": slice(0, UNITS), "block": slice(UNITS, UNITS + 1)}
        self.log_alpha = torch.linspace(0.2, 1, UNITS + 1).double().requires_grad_()
        self.drawn = self.log_alpha * 1.0

    def current(self) -> torch.Tensor:
        return self.drawn


def gated(kind: type[nn.Module]) -> tuple[list[nn.Module], Source, Wiring]:
    torch.manual_seed(0)
    source = Source()
    wiring, modules = Wiring(source), []
    for _ in range(MODULES):
        module = nn.Conv1d(UNITS, UNITS, 3) if kind is nn.Conv1d else nn.Linear(UNITS, UNITS)
        gate = WeightGate(wiring, columns={"units": torch.arange(UNITS)})
        if kind is FactorLinear:
            gate.rows["units"] = torch.arange(UNITS)
        else:
            gate.blocks.append("block")
        swap_class(module.double(), gate, FactorLinear if kind is FactorLinear else None)
        modules.append(module)
    wiring.refresh()
    return modules, source, wiring


def gradients(kind: type[nn.Module], together: bool, used: int) -> list[torch.Tensor | None]:
    modules, source, wiring = gated(kind)
    if together:
        make_products(wiring.stacks)
        assert all(module.prune_ssl_gate.made.keys() == {"weight", "bias"} for module in modules)
    given = torch.randn(2, UNITS, 9, dtype=torch.float64)
    total = sum(
        (module(given if kind is nn.Conv1d else given.mT).square().sum() for module in modules[:used]),
        start=torch.zeros((), dtype=torch.float64),
    )
    total.backward()
    assert not any(module.prune_ssl_gate.made for module in modules[:used])
    stored = [own.grad for module in modules for own in module._parameters.values() if own is not None]
    return [total.detach(), source.log_alpha.grad, *stored]


@pytest.mark.parametrize("kind", [nn.Linear, nn.Conv1d, FactorLinear])
@pytest.mark.parametrize("used", [MODULES, 1])
def test_values_and_gradients_are_those_of_each_module(kind: type[nn.Module], used: int) -> None:
    for together, alone in zip(*(gradients(kind, each, used) for each in (True, False)), strict=True):
        if alone is None:  # a module that was skipped gets no gradient, so that no optimiser moves it
            assert together is None
        else:
            torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)


def test_a_product_serves_only_the_values_that_it_was_made_of() -> None:
    modules, _, wiring = gated(nn.Linear)
    make_products(wiring.stacks)
    first, second = (module.weight for module in modules[:2])
    assert modules[0].weight is first
    with torch.no_grad():
        modules[0]._parameters["weight"].add_(1)
    assert modules[0].weight is not first
    assert not torch.equal(modules[0].weight, first)
    assert modules[1].weight is second
    clear_products(wiring.stacks)
    assert modules[1].weight is not second
    assert all(torch.equal(*pair) for pair in pairwise([modules[1].weight, second]))
