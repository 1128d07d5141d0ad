"""Cuts by a criterion, once or in rounds with training between: the methods without gates, as arithmetic."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from accelerate import Accelerator
from torch import nn

from prune_ssl.gating import Plan, PruningConfig
from prune_ssl.gating.schedule import ramp
from prune_ssl.profiling import fit_latency
from prune_ssl.resizing import resize
from prune_ssl.selection import Budget, Limit, bounds_of
from prune_ssl.selection.choosing import Scoring, chosen
from prune_ssl.tracing import PruningGraph, trace
from prune_ssl.training.processes import from_first
from prune_ssl.training.sharding import require_alike


@dataclass(frozen=True)
class Cut:
    """A model that was cut, and its keep in units of the dense model."""

    model: nn.Module
    keep: dict[str, tuple[int, ...]]


def rounds_of(config: PruningConfig, steps: int) -> list[int]:
    """Return the training steps after each cut: all after the only one, or shared evenly among the rounds."""
    count = 1 if config.method == "one_shot" else min(config.rounds, steps)
    return [steps * (index + 1) // count - steps * index // count for index in range(count)]


def budget_of_round(limits: Sequence[Limit], config: PruningConfig, index: int, rounds: int) -> Budget:
    """Return what the model may cost after cut `index` of `rounds`: absolute, down the schedule's ramp."""
    if rounds == 1:
        return tuple(limit.constraint for limit in limits)
    return tuple(
        replace(
            limit.constraint,
            fraction=None,
            absolute=max(
                int(limit.dense * ramp(index + 1, rounds, 1.0, 1.0, limit.fraction, config.schedule)),
                limit.maximum,
            ),
        )
        for limit in limits
    )


def cut(
    before: Cut,
    dense: PruningGraph,
    config: PruningConfig,
    budget: Budget,
    score: Callable[[nn.Module, PruningGraph], dict[str, torch.Tensor]],
    measured: bool = False,
) -> Cut:
    """Cut a model further, in place, to a budget by the config's criterion. All processes make the same cut.

    Args:
        before: the model, and what earlier cuts left of it.
        dense: the graph of the dense model.
        config: criterion and kinds.
        budget: of the dense model.
        score: gives a score (units,) for every group of a model and its graph.
        measured: time the cut, and correct a latency budget by that (for the dense model only).
    """
    graph = trace(before.model) if before.keep else dense
    budget = without_emptied_groups(budget, dense, graph)
    scoring = Scoring(criterion=config.criterion, normalise=config.normalise, isomorphic=config.isomorphic)
    # Every process scores, because the scores are means over the clips of all; the first one chooses.
    scores = score(before.model, graph)

    def choose(budget: Budget) -> dict[str, tuple[int, ...]]:
        bounds = bounds_of(graph, budget, config.round_to, config.kinds, config.layout, config.seconds)
        return chosen(graph, scores, bounds, scoring)

    keep = from_first(
        lambda: choose(fit_latency(before.model, graph, budget, choose).budget if measured else budget)
    )
    model = resize(before.model, graph, keep, inplace=True)
    return Cut(model, composed(dense, before.keep, keep))


def without_emptied_groups(budget: Budget, dense: PruningGraph, graph: PruningGraph) -> Budget:
    """Return the budget with latency tables that no longer mention groups emptied by earlier cuts."""
    gone = dense.groups.keys() - graph.groups.keys()
    return tuple(
        limit if limit.table is None else replace(limit, table=limit.table.without(gone)) for limit in budget
    )


def composed(
    graph: PruningGraph, first: Mapping[str, Sequence[int]], second: Mapping[str, Sequence[int]]
) -> dict[str, tuple[int, ...]]:
    """Return the keep that equals `first` and then `second`, whose units are those that `first` left."""
    joined: dict[str, tuple[int, ...]] = {}
    for name, group in graph.groups.items():
        left = first.get(name, range(group.size))
        kept = tuple(left[unit] for unit in second[name]) if name in second else tuple(left)
        if len(kept) < group.size:
            joined[name] = kept
    return joined


def agreed(plan: Plan, accelerator: Accelerator) -> Plan:
    """Return the plan; under several processes only if all have made the same.

    Raises:
        PruneError: they differ.
    """
    text = json.dumps([sorted(plan.keep.items()), sorted(plan.scales.items())])
    require_alike(hashlib.sha256(text.encode()).digest(), "cuts", accelerator)
    return plan
