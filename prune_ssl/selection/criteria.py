"""Criteria: the table of one-shot scores of units, each a function and the evidence that it needs."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from prune_ssl.errors import BudgetError
from prune_ssl.models.arguments import shown
from prune_ssl.selection.calibration import (
    Batch,
    Evidence,
    LossOf,
    Total,
    alone,
    gather_gradients,
    gather_inputs,
    per_unit,
)
from prune_ssl.selection.limits import Limit
from prune_ssl.tracing import Group, PruningGraph

Normalise = Literal["cost", "none"]


def magnitude(group: Group, evidence: Evidence) -> torch.Tensor:
    """Return the squared L2 norm of each unit's weights, (units,) float64; later it is made relative.

    The slices of norms do not count: the scale of a channel before a normalisation says nothing of its use.
    """
    weights, total = _weights(group, evidence), torch.zeros(group.size, dtype=torch.float64)
    for part in group.slices:
        if part.parameter in weights:
            total += evidence.squares(part.parameter, part.dim)[torch.from_numpy(part.index)].sum(1)
    for path in group.members:
        if path in weights:
            total += evidence.squares(path, 0).sum()
    return total


def taylor(group: Group, evidence: Evidence) -> torch.Tensor:
    """Return the first-order change of the loss when a unit goes, (units,): the mean of |sum of w g|.

    The sum is over all slices of a unit, the mean over batches (Molchanov et al. 2019, eq. 8, group-wise).
    """
    return evidence.first[group.name]


def fisher(group: Group, evidence: Evidence) -> torch.Tensor:
    """Return the second-order change of the loss when a unit goes, (units,): 1/2 sum of w^2 E[g^2].

    The Fisher matrix is taken as diagonal, and the sum is over all slices of a unit (Theis et al. 2018,
    eq. 7). The mean is over batches, so that smaller batches give a sharper estimate.
    """
    return 0.5 * evidence.second[group.name]


def activation(group: Group, evidence: Evidence) -> torch.Tensor:
    """Return the sum of |W_ij| rms(X_j) over the columns that read a unit, (units,) float64.

    This is the score of Wanda (Sun et al. 2024); later it is made relative. No columns read a whole block or
    layer, so that all of these have the same score.
    """
    readers = group.of_role("consumer")
    scores = torch.zeros(group.size, dtype=torch.float64) if readers else torch.ones(group.size).double()
    for part in readers:
        weight = evidence.parameters[part.parameter].detach().double().cpu()
        sizes = evidence.inputs[part.module].view(1, -1, *[1] * (weight.dim() - 2))
        scores += per_unit(part, weight.abs() * sizes)
    return scores


def random(group: Group, evidence: Evidence) -> torch.Tensor:
    """Return uniform scores from torch's global generator: the baseline that any criterion must beat.

    `select` never divides them by the cost, so that a dear unit is as likely to go as a cheap one.
    """
    return torch.rand(group.size, dtype=torch.float64)


def _weights(group: Group, evidence: Evidence) -> dict[str, torch.Tensor]:
    """Return the matrices and kernels that a group touches, without norms and biases."""
    paths = [part.parameter for part in group.slices if part.role != "norm"] + list(group.members)
    known = {path: evidence.parameters[path] for path in paths if path in evidence.parameters}
    return {path: parameter for path, parameter in known.items() if parameter.dim() >= 2}


def _relative(
    graph: PruningGraph, scores: Mapping[str, torch.Tensor], evidence: Evidence
) -> dict[str, torch.Tensor]:
    """Return scores divided by the mean of their peers, times the number of weights of a unit.

    The peers of a unit are the units of its group. The peers of a whole block or layer are all blocks or
    layers. The number of weights makes a head worth more than a neuron, and a block about as much as all its
    units.
    """
    alone: dict[str, list[torch.Tensor]] = {}
    for name, group in graph.groups.items():
        if group.size == 1:
            alone.setdefault(group.kind, []).append(scores[name])
    made = {}
    for name, group in graph.groups.items():
        others = torch.cat(alone[group.kind]) if group.size == 1 else scores[name]
        count = sum(weight.numel() // group.size for weight in _weights(group, evidence).values())
        made[name] = count * scores[name] / others.mean().clamp_min(torch.finfo(torch.float64).tiny)
    return made


@dataclass(frozen=True)
class Criterion:
    """A score of units, and the evidence that it needs from data."""

    score: Callable[[Group, Evidence], torch.Tensor]
    """Returns a score for each unit of a group, (units,): finite, 0 or more, higher means keep."""
    needs: Literal["weights", "gradients", "inputs"] = "weights"
    """The evidence: weights alone, or also gradients of the loss, or input sizes of consumers, on batches."""
    relative: bool = False
    """Whether scores of different groups compare only after division by the mean of their peers."""
    by_cost: bool = True
    """Whether scores may be divided by the cost saved."""
    evenly: bool = False
    """Whether all groups are cut by one fraction, so that scores choose within a group only."""


CRITERIA: dict[str, Criterion] = {
    "magnitude": Criterion(magnitude, relative=True),
    "taylor": Criterion(taylor, "gradients"),
    "fisher": Criterion(fisher, "gradients"),
    "activation": Criterion(activation, "inputs", relative=True),
    "random": Criterion(random, by_cost=False),
    "uniform": Criterion(magnitude, relative=True, evenly=True),
}


_OWN = frozenset(CRITERIA)


def register_criterion(name: str, criterion: Criterion) -> None:
    """Add a criterion of your own, whose name `select`, `PruningConfig` and recipes then know.

    Registering the same name once more replaces it, so that a notebook's cell can run twice.

    Args:
        name: letters, digits, `_` and `-`; not one of the package's own.
        criterion: the score of units, and the evidence that it needs.

    Raises:
        BudgetError: the name is taken or malformed, or `criterion` is no `Criterion`.

    Example:
        >>> import prune_ssl
        >>> from prune_ssl.selection import CRITERIA, Criterion, unit_sums
        >>> def sum_of_sizes(group, evidence):
        ...     return unit_sums(group, {path: w.abs() for path, w in evidence.parameters.items()})
        >>> prune_ssl.register_criterion("l1", Criterion(sum_of_sizes, relative=True))
        >>> "l1" in CRITERIA
        True
        >>> del CRITERIA["l1"]
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][\w-]*", name):
        raise BudgetError(
            f"register_criterion: found the name {name!r:.60}, wanted a letter, then letters, digits, _ or -."
        )
    if name in _OWN:
        raise BudgetError(f"register_criterion: {name!r} is one of the package's own; choose another name.")
    if not isinstance(criterion, Criterion) or not callable(criterion.score):
        raise BudgetError(
            f"register_criterion: found {shown(criterion)} for {name!r}, wanted "
            "prune_ssl.Criterion(score), where score(group, evidence) returns a tensor (units,)."
        )
    if criterion.needs not in ("weights", "gradients", "inputs"):
        raise BudgetError(
            f"register_criterion: {name!r} needs {criterion.needs!r:.60}, wanted one of weights, gradients, "
            "inputs."
        )
    CRITERIA[name] = criterion


def needing_no_data() -> list[str]:
    """Return the names of the criteria that look at weights only."""
    return [name for name, criterion in CRITERIA.items() if criterion.needs == "weights"]


def score_units(
    model: nn.Module,
    graph: PruningGraph,
    criterion: str,
    batches: Iterable[Batch] | None = None,
    total: Total = alone,
    loss_of: LossOf | None = None,
) -> dict[str, torch.Tensor]:
    """Return a score (units,) for every group; higher means keep.

    Args:
        model: it is not changed.
        graph: its graph.
        criterion: a key of `CRITERIA`.
        batches: for criteria that look at data.
        total: sums a tensor over processes, if each has batches of its own. All of them must call this.
        loss_of: the loss of a batch, for criteria that look at data. None: the model's own.

    Raises:
        BudgetError: the criterion is not in the table, needs batches that were not given, or gives anything
            but a finite score of 0 or more for each unit.
    """
    if criterion not in CRITERIA:
        raise BudgetError(f"unknown criterion {criterion!r}; wanted one of {', '.join(CRITERIA)}.")
    chosen = CRITERIA[criterion]
    if chosen.needs != "weights" and batches is None:
        raise BudgetError(
            f"criterion {criterion!r} looks at {chosen.needs} on data: give batches=, a few batches "
            "of the training data."
        )
    evidence, given = Evidence(dict(model.named_parameters())), (graph, model, batches or (), total, loss_of)
    if chosen.needs == "gradients":
        evidence = Evidence(evidence.parameters, *gather_gradients(*given))
    elif chosen.needs == "inputs":
        evidence = Evidence(evidence.parameters, inputs=gather_inputs(*given))
    scores = {
        name: _checked(criterion, group, chosen.score(group, evidence))
        for name, group in graph.groups.items()
    }
    return _relative(graph, scores, evidence) if chosen.relative else scores


def _checked(criterion: str, group: Group, scores: object) -> torch.Tensor:
    """Return the scores of a group; refuse scores that the solver cannot compare."""
    wanted = f"wanted a tensor ({group.size},) of finite numbers of 0 or more"
    where = f"criterion {criterion!r} on group {group.name!r}"
    if not isinstance(scores, torch.Tensor):
        raise BudgetError(f"{where}: found {shown(scores)}, {wanted}.")
    if scores.shape != (group.size,):
        raise BudgetError(f"{where}: found the shape {tuple(scores.shape)}, {wanted}.")
    if not bool((scores.isfinite() & (scores >= 0)).all()):
        raise BudgetError(f"{where}: found {float(scores.min()):g} to {float(scores.max()):g}, {wanted}.")
    return scores


def unit_prices(graph: PruningGraph, limits: Sequence[Limit]) -> dict[str, float]:
    """Return the price of one unit of each group: its share of the dense cost, summed over the limits.

    Every limit counts, because a section's touches the groups of its section only. A group that no
    limit prices (hidden size under a latency) gets the least price of the others: its units keep their order.
    """
    dense = graph.widths()
    found = {
        name: sum(max(limit.cost.marginal(name, dense), 0) / limit.dense for limit in limits)
        for name in graph.groups
    }
    least = min((price for price in found.values() if price > 0), default=1.0)
    return {name: price or least for name, price in found.items()}


def compared(
    graph: PruningGraph,
    scores: Mapping[str, torch.Tensor],
    prices: Mapping[str, float],
    normalise: Normalise = "cost",
    isomorphic: bool = False,
) -> dict[str, torch.Tensor]:
    """Return scores for the solver, which first drops the units with the least score per cost saved.

    Args:
        graph: the traced model.
        scores: group -> (units,) of a criterion.
        prices: group -> cost of one of its units (`unit_prices`).
        normalise: "cost" compares units by score per cost saved (which keeps the most score under the
            budget), "none" by score alone.
        isomorphic: compare a unit only with units of its own kind, by its rank among them (Fang et al. 2024):
            kinds are then cut by about the same fraction, whatever the scales of their scores.

    Raises:
        BudgetError: `normalise` is not one of the two.
    """
    if normalise not in ("cost", "none"):
        raise BudgetError(f"normalise: found {normalise!r}, wanted 'cost' or 'none'.")
    if normalise == "cost":
        ratios = {name: values.double() / prices[name] for name, values in scores.items()}
    else:
        ratios = {name: values.double() for name, values in scores.items()}
    if isomorphic:
        ratios = _ranks_within_kind(graph, ratios)
    # The solver divides by the cost again.
    return {name: values * prices[name] for name, values in ratios.items()}


def _ranks_within_kind(graph: PruningGraph, scores: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    ranked: dict[str, torch.Tensor] = {}
    for kind in {group.kind for group in graph.groups.values()}:
        names = [name for name, group in graph.groups.items() if group.kind == kind]
        joined = torch.cat([scores[name].double() for name in names])
        ranks = torch.empty_like(joined)
        ranks[joined.argsort(stable=True)] = torch.arange(1, len(joined) + 1, dtype=ranks.dtype) / len(joined)
        ranked |= zip(names, torch.split(ranks, [len(scores[name]) for name in names]), strict=True)
    return ranked
