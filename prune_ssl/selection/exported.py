"""The bytes of an exported file as a cost: each parameter has a size of its own in the file."""

from collections.abc import Mapping
from dataclasses import dataclass

from prune_ssl.selection.costs import PolynomialCost
from prune_ssl.tracing import PruningGraph


@dataclass(frozen=True)
class ExportedFile:
    """The make-up of the file that a dense model is exported to. Plain data."""

    runtime: str
    """The runtime that opens the file, a key of `RUNTIMES`."""
    itemsizes: Mapping[str, int]
    """Parameter -> the bytes of one of its numbers. A parameter that is missing has 4."""
    size_bytes: int
    """The measured size of the dense model's file."""

    def cost(self, graph: PruningGraph) -> PolynomialCost:
        """Return the bytes of the file for the widths of a graph.

        The bytes beyond the parameters, which are the nodes of the graph, are counted as in the dense model.
        """
        polynomial = graph.stored_bytes(self.itemsizes)
        return PolynomialCost(polynomial, 1, max(self.size_bytes - polynomial.value(graph.widths()), 0))
