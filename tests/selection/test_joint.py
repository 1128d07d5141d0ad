"""The costs of all limits together are those of each, and so are their slopes."""

import pytest
import torch

from prune_ssl import trace
from prune_ssl.selection import KINDS, bounds_of
from prune_ssl.selection.joint import JointCosts
from tests.support.models import tiny_model


@pytest.mark.parametrize("budget", ["macs=50%", "macs=50%,params=60%", "memory=90%", "frontend.params=80%"])
def test_values_and_slopes_are_those_of_autograd(budget: str) -> None:
    graph = trace(tiny_model())
    limits = bounds_of(graph, budget, round_to=1, kinds=tuple(KINDS)).limits
    torch.manual_seed(0)
    counts = torch.tensor([float(width) for width in graph.widths().values()]) * torch.rand(len(graph.groups))
    widths = counts.double().requires_grad_()
    goals = [0.25 * (1 + place) for place in range(len(limits))]
    found, slopes = JointCosts(limits)(counts, goals)
    for place, limit in enumerate(limits):
        cost = limit.cost.expected(widths) / limit.dense
        assert float(found[place]) == pytest.approx(float(cost.detach()) - goals[place], rel=1e-12)
        (wanted,) = torch.autograd.grad(cost, widths)
        torch.testing.assert_close(slopes[place], wanted, rtol=1e-12, atol=1e-15)


def test_costs_that_are_no_polynomial_are_taken_as_they_are() -> None:
    graph = trace(tiny_model())
    limits = bounds_of(graph, "macs=50%,params=60%", round_to=1).limits
    counts = torch.tensor([float(width) for width in graph.widths().values()])
    joint = JointCosts(limits)
    wanted, joint.whole = joint(counts, [0.5, 0.5]), False
    for own, other in zip(joint(counts, [0.5, 0.5]), wanted, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-12, atol=1e-15)
