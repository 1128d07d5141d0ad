"""select(): one-shot choice of a keep from a criterion and a budget."""

from collections.abc import Sequence

from torch import nn

from prune_ssl.selection.budget import resolve
from prune_ssl.selection.criteria import score_units
from prune_ssl.selection.solver import allowed_widths, solve
from prune_ssl.tracing import PruningGraph


def select(
    graph: PruningGraph,
    model: nn.Module,
    budget: str,
    criterion: str = "magnitude",
    round_to: int = 8,
    kinds: Sequence[str] | None = None,
    seconds: float = 10.0,
) -> dict[str, tuple[int, ...]]:
    """Choose which units to keep, in one shot, without training.

    Args:
        graph: what `trace(model)` gave.
        model: the dense model; only its weights are read.
        budget: what to keep, such as "macs=50%" or "params=25M,frontend.macs=40%".
        criterion: a key of `CRITERIA`.
        round_to: conv and FFN widths become multiples of this.
        kinds: kinds of units that may go, of `KINDS` (None: conv, heads and ffn).
        seconds: audio length at which MACs are counted.

    Returns:
        group name -> kept units, for every group that lost one; never over the budget.

    Raises:
        BudgetError: a malformed or unreachable budget, or an unknown criterion.
    """
    widths = allowed_widths(graph, round_to, kinds)
    limits = resolve(budget, graph, widths, seconds)
    return solve(graph, score_units(graph, model, criterion), limits, widths)
