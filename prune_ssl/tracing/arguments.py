"""What people give the verbs that take a model and its graph: in this order, and of one model."""

from typing import Any

from torch import nn

from prune_ssl.errors import ModelError
from prune_ssl.models.arguments import as_model, shown
from prune_ssl.tracing.graph import PruningGraph


def as_model_and_graph(model: Any, graph: Any, verb: str) -> nn.Module:
    """Return the model of `verb(model, graph, ...)`, loaded where a folder or name is given.

    Raises:
        ModelError: one of both is something else, they are exchanged, or the graph is another model's.
    """
    check_graph(model, graph, verb)
    made = as_model(model, verb)
    check_same_model(made, graph)
    return made


def check_graph(model: Any, graph: Any, verb: str) -> None:
    """Refuse what is no graph, and a graph in the model's place.

    Raises:
        ModelError: so it is.
    """
    if isinstance(model, PruningGraph):
        raise ModelError(f"{verb}: the model comes first, then its graph: {verb}(model, graph, ...).")
    if not isinstance(graph, PruningGraph):
        raise ModelError(
            f"{verb}: found {shown(graph)} in the graph's place, wanted what prune_ssl.trace(model) gives: "
            f"{verb}(model, graph, ...)."
        )


def check_same_model(model: nn.Module, graph: PruningGraph) -> None:
    """Refuse a model whose parameters are not those that `graph` was traced on.

    Raises:
        ModelError: a parameter is missing, new, or of another shape.
    """
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    if shapes == graph.shapes:
        return
    odd = sorted(
        name for name in shapes.keys() | graph.shapes.keys() if shapes.get(name) != graph.shapes.get(name)
    )
    raise ModelError(
        f"this model is not the one that was traced: {odd[0]} has shape {shapes.get(odd[0])}, the graph says "
        f"{graph.shapes.get(odd[0])} ({len(odd)} parameters differ). Trace this model again."
    )
