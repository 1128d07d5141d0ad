"""Owns Traced: a model together with its graph, so that verbs which need both do not trace it again."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from torch import nn

from prune_ssl.models.arguments import as_model
from prune_ssl.models.int8_linear import has_int8, put_floats_
from prune_ssl.tracing.arguments import check_graph, check_same_model
from prune_ssl.tracing.graph import PruningGraph
from prune_ssl.tracing.tracer import trace

M_co = TypeVar("M_co", bound=nn.Module, covariant=True)


@dataclass(frozen=True)
class Traced(Generic[M_co]):
    """A model and what `trace(model)` gave; `measure` and `report` take it in the place of the model.

    Raises:
        ModelError: the graph is another model's.
    """

    model: M_co
    graph: PruningGraph

    def __post_init__(self) -> None:
        check_graph(self.model, self.graph, "Traced")
        check_same_model(self.model, self.graph)

    @staticmethod
    def of(given: "Source", verb: str) -> "Traced[nn.Module]":
        """Return a model with its graph, traced now unless it comes with one.

        Args:
            given: a model, its folder or hub name, or a `Traced`.
            verb: name of the function that was given it, for messages.

        Raises:
            ModelError: it is something else, cannot be loaded, or `trace` does not know it.
        """
        if isinstance(given, Traced):
            return given
        model = as_model(given, verb)
        return Traced(model, trace(_as_floats(model) if has_int8(model) else model))


def _as_floats(model: nn.Module) -> nn.Module:
    """Return a copy of a model with integers in which these layers are Linear layers without weights."""
    made = copy.deepcopy(model)
    put_floats_(made)
    return made


Source = nn.Module | str | Path | Traced[nn.Module]
"""What `measure` and `report` take for a model."""
