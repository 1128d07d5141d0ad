"""The stock layout: the sizes in the config of a transformers class, as allowed widths and ties.

A stock config has a width for every convolution, one FFN width for all layers, and a number of layers. Its
heads are hidden size / head count wide, so heads and hidden size stay; so does a conformer's convolution
module, and a frontend whose config has no widths for it.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from prune_ssl.models import FAMILIES
from prune_ssl.tracing import PruningGraph

Layout = Literal["hetero", "stock"]
STOCK_KINDS = ("conv", "ffn", "layer")


def stock_widths(graph: PruningGraph, widths: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """Return the allowed widths that a stock config can state."""
    return {
        name: [width for width in options if width or not _must_stay(graph, name)]
        if _may_shrink(graph, name)
        else [graph.groups[name].size]
        for name, options in widths.items()
    }


def stock_ties(graph: PruningGraph) -> list[list[str]]:
    """Return the groups for which a stock config has one width."""
    tied = [name for name, group in graph.groups.items() if group.kind == "ffn"]
    return [tied] if len(tied) > 1 else []


def ties_of(graph: PruningGraph, layout: Layout) -> list[list[str]]:
    """Return the groups of the same width under a layout."""
    return stock_ties(graph) if layout == "stock" else []


def _may_shrink(graph: PruningGraph, name: str) -> bool:
    kind, family = graph.groups[name].kind, FAMILIES.get(graph.family)
    if kind != "conv":
        return kind in STOCK_KINDS
    stated = family is None or family.classes is None or family.states_conv_widths
    return stated and name.startswith("conv.")


def _must_stay(graph: PruningGraph, name: str) -> bool:
    """Return whether a group cannot be empty: an FFN, or a first layer with the position bias of all."""
    if graph.groups[name].kind == "ffn":
        return True
    family = FAMILIES.get(graph.family)
    biased = family is not None and bool(family.attention.shared)
    return name == "layer.0" and biased
