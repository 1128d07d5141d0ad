"""select(): makes a keep from a criterion and a budget, in one shot."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import nn

from prune_ssl.selection.budget import Budget
from prune_ssl.selection.calibration import Batch
from prune_ssl.selection.criteria import CRITERIA, Normalise, compared, score_units, unit_prices
from prune_ssl.selection.limits import Bounds, bounds_of
from prune_ssl.selection.solver import solve
from prune_ssl.selection.stock import Layout
from prune_ssl.tracing import PruningGraph
from prune_ssl.tracing.arguments import as_model_and_graph


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """The criterion that scores units, and the way in which their scores are compared."""

    criterion: str = "magnitude"
    """A key of `CRITERIA`."""
    normalise: Normalise = "cost"
    """"cost" compares units by score per cost saved, "none" by score alone."""
    isomorphic: bool = False
    """Units are compared by rank within their kind, so that kinds are cut about equally."""


def select(
    model: nn.Module | str | Path,
    graph: PruningGraph,
    budget: str | Budget,
    criterion: str = "magnitude",
    round_to: int = 8,
    kinds: Sequence[str] | None = None,
    *,
    seconds: float = 10.0,
    batches: Iterable[Batch] | None = None,
    normalise: Normalise = "cost",
    isomorphic: bool = False,
    layout: Layout = "hetero",
) -> dict[str, tuple[int, ...]]:
    """Choose which units to keep, in one shot, without training.

    Args:
        model: the dense model, or its folder or hub name; it is not changed.
        graph: the result of `trace(model)`.
        budget: the cost to keep, such as "macs=50%" or "params=25M,frontend.macs=40%".
        criterion: a key of `CRITERIA`.
        round_to: conv and FFN widths become multiples of this.
        kinds: kinds of units that may go, of `KINDS` (None: conv, heads and ffn).
        seconds: audio length at which MACs are counted.
        batches: a few batches of keyword arguments for the model's forward, for criteria that need data.
            `taylor` and `fisher` need a loss, so the batches hold labels as well.
        normalise: "cost" compares units by score per cost saved, "none" by score alone; `random` does that
            always.
        isomorphic: compare units by rank within their kind, so that kinds are cut about equally.
        layout: "stock" chooses only widths that a stock config can express (`to_stock` then makes it a stock
            model).

    Returns:
        group name -> kept units, for every group that lost one; never over the budget.

    Raises:
        BudgetError: the budget cannot be read or reached, or the criterion is unknown or has no batches.
        ModelError: the graph belongs to another model.

    Example:
        >>> import prune_ssl
        >>> from transformers import HubertConfig, HubertModel
        >>> sizes = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = HubertModel(HubertConfig(num_hidden_layers=1, conv_dim=(16,) * 7, **sizes))
        >>> graph = prune_ssl.trace(model)
        >>> keep = prune_ssl.select(model, graph, "macs=60%", round_to=1)
        >>> graph.cost(keep).macs <= 0.6 * graph.cost().macs
        True
    """
    given = as_model_and_graph(model, graph, "select")
    bounds = bounds_of(graph, budget, round_to, kinds, layout, seconds)
    scoring = Scoring(criterion=criterion, normalise=normalise, isomorphic=isomorphic)
    return choose(given, graph, bounds, scoring, batches)


def choose(
    model: nn.Module,
    graph: PruningGraph,
    bounds: Bounds,
    scoring: Scoring,
    batches: Iterable[Batch] | None = None,
) -> dict[str, tuple[int, ...]]:
    """Choose which units to keep, as `select` does, within bounds that are resolved already.

    Raises:
        BudgetError: the criterion is unknown, or its batches are missing.
    """
    return chosen(graph, score_units(model, graph, scoring.criterion, batches), bounds, scoring)


def chosen(
    graph: PruningGraph, scores: Mapping[str, torch.Tensor], bounds: Bounds, scoring: Scoring
) -> dict[str, tuple[int, ...]]:
    """Choose which units to keep by scores that are known already.

    Args:
        graph: the traced model.
        scores: group -> (units,), of `score_units`.
        bounds: the widths that meet the budget.
        scoring: the criterion of the scores, and the way in which they are compared.
    """
    criterion = CRITERIA[scoring.criterion]
    if criterion.evenly:
        return solve(graph, scores, bounds, uniform_widths(graph, bounds), improve=False)
    normalise: Normalise = scoring.normalise if criterion.by_cost else "none"
    prices = unit_prices(graph, bounds.limits)
    return solve(graph, compared(graph, scores, prices, normalise, scoring.isomorphic), bounds)


def uniform_widths(graph: PruningGraph, bounds: Bounds) -> dict[str, int]:
    """Return widths of one common fraction, the largest that meets every limit.

    Each width is rounded down. Then, while it fits, the group that keeps the smallest part of itself goes one
    step up.
    """

    def at(fraction: float) -> dict[str, int]:
        return {
            name: max([w for w in options if w <= fraction * graph.groups[name].size] or options[:1])
            for name, options in bounds.widths.items()
        }

    parts = ((w / graph.groups[name].size for w in options) for name, options in bounds.widths.items())
    fractions = sorted({0.0, *chain(*parts)})
    low, high = 0, len(fractions) - 1
    while low < high:  # costs grow with the fraction
        middle = (low + high + 1) // 2
        low, high = (middle, high) if bounds.hold(at(fractions[middle])) else (low, middle - 1)
    return _filled(graph, bounds, at(fractions[low]))


def _filled(graph: PruningGraph, bounds: Bounds, found: dict[str, int]) -> dict[str, int]:
    while True:
        for name in sorted(found, key=lambda each: found[each] / graph.groups[each].size):
            wider = next((w for w in bounds.widths[name] if w > found[name]), None)
            if wider is not None and bounds.hold({**found, name: wider}):
                found = {**found, name: wider}
                break
        else:
            return found
