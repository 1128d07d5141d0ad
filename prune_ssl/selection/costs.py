"""Cost functions: the quantity of a constraint as a function of the widths of the groups."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import numpy as np
import torch

from prune_ssl.models.seals import SEAL_LENGTH, marks
from prune_ssl.tracing import PruningGraph
from prune_ssl.tracing.cost import Polynomial

Widths = Mapping[str, int]


class CostFunction(Protocol):
    """A cost for the solver, the gates and the refusals; it is a whole number for whole widths."""

    def value(self, widths: Widths) -> int:
        """Return the cost."""
        ...

    def marginal(self, group: str, widths: Widths) -> int:
        """Return the cost of one unit of `group` while the other groups have these widths."""
        ...

    def change(self, group: str, width: int, widths: Widths) -> int:
        """Return the change of the cost when `group` goes from its width in `widths` to `width`."""
        ...

    def coupled(self, group: str) -> set[str]:
        """Return the groups whose changes depend on the width of `group`, itself among them."""
        ...

    def worthwhile(self, widths: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
        """Drop allowed widths that a wider one beats at no extra cost.

        The smallest and the largest are always kept.
        """
        ...

    def expected(self, widths: torch.Tensor) -> torch.Tensor:
        """Return the cost for expected widths (groups,), differentiable in each, as a float64 scalar."""
        ...


@dataclass(frozen=True)
class PolynomialCost:
    """A polynomial of the graph times `factor` plus `constant`: parameters, MACs, or bytes of a file."""

    polynomial: Polynomial
    factor: int = 1
    constant: int = 0

    def value(self, widths: Widths) -> int:
        """See CostFunction."""
        return self.factor * self.polynomial.value(widths) + self.constant

    def marginal(self, group: str, widths: Widths) -> int:
        """See CostFunction."""
        return self.factor * self.polynomial.marginal(group, widths)

    def change(self, group: str, width: int, widths: Widths) -> int:
        """See CostFunction."""
        return (width - widths[group]) * self.marginal(group, widths)

    def coupled(self, group: str) -> set[str]:
        """See CostFunction."""
        terms = self.polynomial.by_group.get(group, [])
        return {group}.union(*(others for _, others in terms))

    def worthwhile(self, widths: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
        """See CostFunction."""
        return {name: list(options) for name, options in widths.items()}

    def expected(self, widths: torch.Tensor) -> torch.Tensor:
        """See CostFunction."""
        return self.factor * self.polynomial.expected(widths) + self.constant


BUFFER_BYTES = 8
"""The most bytes of one entry of a buffer: a batch norm counts its batches in an int64."""


def saved_overhead(graph: PruningGraph, itemsize: int | None = None) -> int:
    """Return an upper bound of the bytes of a saved model beyond the values of its parameters.

    A safetensors file starts with 8 bytes and a JSON header (name, dtype, shape, offsets), padded to 8. A
    smaller model has no longer header: names stay or go, and numbers lose digits. Running statistics of norms
    are counted as in the dense model.

    Args:
        graph: the traced model.
        itemsize: bytes of every number; None takes the dtype in which each tensor is saved.
    """
    kept = sum(BUFFER_BYTES * prod(shape) for shape in graph.buffers.values())
    shapes = {**graph.shapes, **graph.buffers}
    end = kept + sum(
        (itemsize or graph.itemsizes.get(name, 4)) * int(np.prod(shape, dtype=np.int64))
        for name, shape in shapes.items()
    )
    entries = {
        name: {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end]}
        for name, shape in shapes.items()
    }
    metadata = {"format": "pt", **marks("0" * SEAL_LENGTH)}
    header = json.dumps({"__metadata__": metadata, **entries}, separators=(",", ":"))
    return kept + 8 + len(header) + 8
