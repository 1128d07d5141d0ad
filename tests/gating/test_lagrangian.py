"""The Lagrangian against closed forms: target, penalty, the scale K, and the gradients of the multipliers."""

import math

import pytest
import torch

from prune_ssl import PruningConfig, trace
from prune_ssl.gating import Lagrangian, UnitGates, schedule
from prune_ssl.gating.schedule import ramp
from tests.support.gating import gated
from tests.support.models import tiny_model

UNITS = 7


@pytest.fixture
def made():
    """A Lagrangian of two constraints, and the gates' widths and slopes that it is given."""
    graph = trace(tiny_model())
    config = PruningConfig(budget="macs=50%,params=70%", warmup=0.5, round_to=1)
    lagrangian = Lagrangian(config, config.bounds(graph), UNITS)
    lagrangian.steps, lagrangian.start = 100, [0.95, 0.97]
    gates = UnitGates(graph, graph.groups)
    with torch.no_grad():
        gates.log_alpha.normal_(1, 1, generator=torch.Generator().manual_seed(1))
    return lagrangian, gates


def test_the_target_falls_to_the_budget_and_stands(made):
    lagrangian, _ = made
    budget = [limit.fraction for limit in lagrangian.bounds.limits]
    assert lagrangian.target(0) == [0.95, 0.97]
    assert lagrangian.target(20) == [
        ramp(20, 100, 0.5, start, goal) for start, goal in zip((0.95, 0.97), budget, strict=True)
    ]
    assert lagrangian.target(50) == lagrangian.target(99) == pytest.approx(budget)


def test_the_penalty_sums_both_terms_of_every_constraint(made):
    lagrangian, gates = made
    multipliers = torch.tensor([[2.0, 3.0], [5.0, 7.0]], requires_grad=True)
    violations = lagrangian.expected(gates.open_counts()).detach() - torch.tensor(lagrangian.target(30))
    penalty = lagrangian.penalty(30, multipliers, gates.open_counts(), gates.slopes())
    wanted = sum(
        math.sqrt(UNITS) * (first * v + second * v**2)
        for (first, second), v in zip(multipliers.tolist(), violations.tolist(), strict=True)
    )
    assert float(penalty.detach()) == pytest.approx(wanted, rel=1e-5)
    penalty.backward()  # descent on this gradient is ascent of the multipliers
    negated = -math.sqrt(UNITS) * torch.stack([violations, violations**2], 1)
    assert torch.allclose(multipliers.grad, negated, rtol=1e-4)


def test_a_multiplier_of_one_pulls_as_hard_as_the_task(made):
    lagrangian, gates = made
    lagrangian.pull.smoothed = 0.3
    scale = lagrangian.task_scale(gates.open_counts(), gates.slopes())
    assert not scale.requires_grad
    for number in range(2):
        cost = lagrangian.expected(gates.open_counts())[number]
        (gradient,) = torch.autograd.grad(cost, gates.log_alpha)
        assert float(scale[number] * gradient.abs().sum()) == pytest.approx(0.3, rel=1e-4)


def test_the_penalty_is_the_augmented_lagrangian():
    model = tiny_model()
    gates = gated(model)
    with torch.no_grad():
        gates.multipliers.copy_(torch.tensor([[2.0, 3.0]]))
    violation = float(gates.expected().detach()[0]) - gates.lagrangian.target(40)[0]
    wanted = math.sqrt(len(gates.log_alpha)) * (2 * violation + 3 * violation**2)
    assert float(gates.penalty(40).detach()) == pytest.approx(wanted, rel=1e-4)


def test_multipliers_rise_while_the_budget_is_exceeded():
    model = tiny_model()
    gates = gated(model, PruningConfig(budget="macs=50%", steps=10, warmup=0.0))
    optimizer = torch.optim.AdamW(gates.parameter_groups())
    gates.penalty(5).backward()
    optimizer.step()
    assert float(gates.multipliers.detach()[0, 0]) > 0
    assert float(gates.multipliers.detach()[0, 1]) > schedule.INITIAL_LAMBDA_2
