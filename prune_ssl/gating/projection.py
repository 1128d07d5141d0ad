"""Projection: makes a plan that meets the budget exactly from learned gates, and doubts about its cut."""

from collections.abc import Iterator

import torch

from prune_ssl.gating import hard_concrete, schedule
from prune_ssl.gating.distribution import UnitGates
from prune_ssl.gating.lagrangian import Lagrangian
from prune_ssl.gating.learning import far_from_budget
from prune_ssl.gating.plan import Plan
from prune_ssl.selection import solve, unit_prices


@torch.no_grad()
def project(gates: UnitGates, lagrangian: Lagrangian) -> Plan:
    """Return the likeliest units within the bounds and E[z | z > 0] of each, whatever the gates learned."""
    probabilities = hard_concrete.open_share(gates.log_alpha)
    chances = {name: torch.ones(group.size) for name, group in gates.graph.groups.items()}
    chances |= {name: probabilities[span].cpu() for name, span in gates.spans.items()}
    start = {name: round(float(values.sum())) for name, values in chances.items()}
    # The worth of a unit is its probability per MAC or parameter, so that kinds compare by probability.
    prices = unit_prices(gates.graph, lagrangian.bounds.limits)
    scores = {name: values.double() * prices[name] for name, values in chances.items()}
    keep = solve(gates.graph, scores, lagrangian.bounds, start)
    open_means = gates.open_means()
    scales = {}
    for name, span in gates.spans.items():
        units = keep.get(name, range(gates.groups[name].size))
        scales[name] = tuple(open_means[span][list(units)].tolist())
    return Plan.of(gates.graph, keep, scales)


@torch.no_grad()
def require_learned(gates: UnitGates, lagrangian: Lagrangian, first: torch.Tensor) -> None:
    """Refuse gates that cannot have learned which units to cut.

    Args:
        gates: the gates.
        lagrangian: their Lagrangian.
        first: log_alpha of every unit at the first step, (units,).

    Raises:
        GatingError: the gates cannot have learned it; the message gives the reason and the remedy.
    """
    moved = bool((gates.log_alpha - first).abs().max() > 1e-6) if len(gates.log_alpha) else True
    gates.learned.require(moved, lagrangian.steps)


@torch.no_grad()
def doubts(gates: UnitGates, lagrangian: Lagrangian) -> Iterator[str]:
    """Yield the reasons to doubt that the gates have learned enough for their cut, one line each."""
    yield from gates.learned.doubts(lagrangian.steps)
    expected = lagrangian.expected(gates.open_counts()).tolist()
    for limit, fraction in zip(lagrangian.bounds.limits, expected, strict=True):
        line = far_from_budget(limit.constraint.name, fraction, limit.fraction)
        if line is not None:
            yield line


def initial_keep(lagrangian: Lagrangian) -> float:
    """Return the probability that a gate is open at the start, from the config or the length of the run."""
    return lagrangian.config.initial_keep or schedule.initial_keep(lagrangian.steps or 1)
