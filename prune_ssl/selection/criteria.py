"""Criteria: one-shot scores of units, a literal table name -> function."""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from prune_ssl.errors import BudgetError
from prune_ssl.tracing import Group, PruningGraph


def magnitude(group: Group, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Squared L2 norm of a unit's weights relative to the mean unit of its group, times its weight count.

    The relative scale makes groups comparable, the count makes a head worth more than a neuron. Norm slices
    do not count: the scale of a channel before a normalisation says nothing of its use. Returns (units,)
    float64.
    """
    scores = torch.zeros(group.size, dtype=torch.float64)
    count = 0
    for part in group.slices:
        if part.role == "norm":  # its buffers are no parameters either
            continue
        parameter = parameters[part.parameter].detach()
        if parameter.dim() < 2:
            continue
        squares = parameter.double().square().transpose(0, part.dim).flatten(1).sum(1).cpu()
        scores += squares[torch.from_numpy(part.index)].sum(1)
        count += parameter.numel() // group.size
    return count * scores / scores.mean().clamp_min(torch.finfo(torch.float64).tiny)


def random(group: Group, parameters: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Uniform scores from torch's global generator: the baseline that any criterion must beat."""
    return torch.rand(group.size, dtype=torch.float64)


CRITERIA: dict[str, Callable[[Group, Mapping[str, torch.Tensor]], torch.Tensor]] = {
    "magnitude": magnitude,
    "random": random,
}


def score_units(graph: PruningGraph, model: nn.Module, criterion: str) -> dict[str, torch.Tensor]:
    """Return a score (units,) for every group; higher means keep.

    Raises:
        BudgetError: the criterion is not in the table.
    """
    if criterion not in CRITERIA:
        raise BudgetError(f"unknown criterion {criterion!r}; wanted one of {', '.join(CRITERIA)}.")
    parameters = dict(model.named_parameters())
    return {name: CRITERIA[criterion](group, parameters) for name, group in graph.groups.items()}
