"""Widths: the numbers of units that each group of a graph may end with."""

from collections.abc import Mapping, Sequence

from prune_ssl.errors import BudgetError
from prune_ssl.selection.kinds import KINDS, ROUNDED_KINDS, UNIT_KINDS
from prune_ssl.selection.stock import Layout, stock_widths
from prune_ssl.tracing import Group, PruningGraph

AllowedWidths = Mapping[str, Sequence[int]]
"""Group -> the widths that it may end with, ascending."""


def allowed_widths(
    graph: PruningGraph,
    round_to: int = 8,
    kinds: Sequence[str] | None = None,
    layout: Layout = "hetero",
) -> dict[str, list[int]]:
    """Return the widths that each group may end with, smallest first.

    Widths of convolutions, FFNs and head dimensions are multiples of `round_to`, or the full width. Zero is
    among them if the group may become empty. A kind that is not in `kinds` (None: `UNIT_KINDS`) keeps its
    full width, and so does a group that layout `stock` cannot make narrower.

    Raises:
        BudgetError: a kind is not in `KINDS`.
    """
    prunable = UNIT_KINDS if kinds is None else check_kinds(kinds)
    widths = {
        name: _widths_of(group, round_to) if group.kind in prunable else [group.size]
        for name, group in graph.groups.items()
    }
    return stock_widths(graph, widths) if layout == "stock" else widths


def check_kinds(kinds: Sequence[str]) -> Sequence[str]:
    """Return `kinds`; raise BudgetError if there are none, or one is not in `KINDS`."""
    if not kinds or set(kinds) - set(KINDS):
        raise BudgetError(f"kinds: found {list(kinds)}, wanted some of {', '.join(KINDS)}.")
    return kinds


def _widths_of(group: Group, round_to: int) -> list[int]:
    step = round_to if group.kind in ROUNDED_KINDS else 1
    widths = {width for width in range(0, group.size + 1, step) if width >= group.minimum}
    return sorted(widths | {group.size})
