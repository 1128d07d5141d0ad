"""select(): one-shot choice of a keep from a criterion and a budget."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from torch import nn

from prune_ssl.selection.budget import Budget, Limit, as_budget, resolve
from prune_ssl.selection.calibration import Batch
from prune_ssl.selection.criteria import CRITERIA, Normalise, compared, score_units, unit_prices
from prune_ssl.selection.solver import allowed_widths, solve
from prune_ssl.selection.stock import Layout, ties_of
from prune_ssl.tracing import PruningGraph
from prune_ssl.tracing.arguments import as_model_and_graph


def select(
    model: nn.Module | str | Path,
    graph: PruningGraph,
    budget: str | Budget,
    criterion: str = "magnitude",
    round_to: int = 8,
    kinds: Sequence[str] | None = None,
    seconds: float = 10.0,
    *,
    batches: Iterable[Batch] | None = None,
    normalise: Normalise = "cost",
    isomorphic: bool = False,
    layout: Layout = "hetero",
) -> dict[str, tuple[int, ...]]:
    """Choose which units to keep, in one shot, without training.

    Args:
        model: the dense model, or its folder or hub name; its parameters, gradients and modes stay as they
            are.
        graph: what `trace(model)` gave.
        budget: what to keep, such as "macs=50%" or "params=25M,frontend.macs=40%".
        criterion: a key of `CRITERIA`.
        round_to: conv and FFN widths become multiples of this.
        kinds: kinds of units that may go, of `KINDS` (None: conv, heads and ffn).
        seconds: audio length at which MACs are counted.
        batches: keyword arguments of the model's forward, a few of them, for criteria that look at data
            (`taylor` and `fisher` need a loss, so labels as well).
        normalise: "cost" compares units by score per cost saved, "none" by score alone (as `random` is).
        isomorphic: compare units by rank within their kind, so that kinds are cut about equally.
        layout: "stock" chooses only what a stock config can say (`to_stock` then makes it a stock model).

    Returns:
        group name -> kept units, for every group that lost one; never over the budget.

    Raises:
        BudgetError: a malformed or unreachable budget, an unknown criterion, or one without its batches.
        ModelError: the graph is another model's.
    """
    model = as_model_and_graph(model, graph, "select")
    budget = as_budget(budget)
    widths, ties = allowed_widths(graph, round_to, kinds, layout), ties_of(graph, layout)
    limits = resolve(budget, graph, widths, seconds)
    scores = score_units(model, graph, criterion, batches)
    if criterion == "uniform":
        start = uniform_widths(graph, limits, widths)
        return solve(graph, scores, limits, widths, start, improve=False, ties=ties)
    if not CRITERIA[criterion].by_cost:
        normalise = "none"
    made = compared(graph, scores, unit_prices(graph, limits), normalise, isomorphic)
    return solve(graph, made, limits, widths, ties=ties)


def uniform_widths(
    graph: PruningGraph, limits: Sequence[Limit], widths: Mapping[str, Sequence[int]]
) -> dict[str, int]:
    """Return widths of one common fraction, the largest that meets every limit.

    Each is rounded down; then the groups that keep the least of themselves go one step up while that fits.
    """

    def at(fraction: float) -> dict[str, int]:
        return {
            name: max([w for w in options if w <= fraction * graph.groups[name].size] or options[:1])
            for name, options in widths.items()
        }

    parts = ((w / graph.groups[name].size for w in options) for name, options in widths.items())
    fractions = sorted({0.0, *chain(*parts)})
    low, high = 0, len(fractions) - 1
    while low < high:  # costs grow with the fraction
        middle = (low + high + 1) // 2
        found = at(fractions[middle])
        fits = all(limit.polynomial.value(found) <= limit.maximum for limit in limits)
        low, high = (middle, high) if fits else (low, middle - 1)
    return _filled(graph, limits, widths, at(fractions[low]))


def _filled(
    graph: PruningGraph, limits: Sequence[Limit], widths: Mapping[str, Sequence[int]], found: dict[str, int]
) -> dict[str, int]:
    while True:
        for name in sorted(found, key=lambda each: found[each] / graph.groups[each].size):
            raised = {**found, name: next((w for w in widths[name] if w > found[name]), found[name])}
            fits = all(limit.polynomial.value(raised) <= limit.maximum for limit in limits)
            if fits and raised != found:
                break
        else:
            return found
        found = raised
