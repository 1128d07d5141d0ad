"""Checks the arguments of the verbs that take a model and its graph, in this order and of one model."""

from torch import nn

from prune_ssl.errors import ModelError
from prune_ssl.models.arguments import as_model, shown
from prune_ssl.tracing.graph import PruningGraph


def as_model_and_graph(model: object, graph: object, verb: str) -> nn.Module:
    """Return the model of `verb(model, graph, ...)`; it is loaded if a folder or a name is given.

    Raises:
        ModelError: an argument is something else, both are exchanged, or the graph belongs to another model.
    """
    traced = check_graph(model, graph, verb)
    made = as_model(model, verb)
    check_same_model(made, traced)
    return made


def check_graph(model: object, graph: object, verb: str) -> PruningGraph:
    """Return the graph; refuse another object, and a graph in the place of the model.

    Raises:
        ModelError: `graph` is no graph, or `model` is one.
    """
    if isinstance(model, PruningGraph):
        raise ModelError(f"{verb}: the model comes first, then its graph: {verb}(model, graph, ...).")
    if not isinstance(graph, PruningGraph):
        raise ModelError(
            f"{verb}: found {shown(graph)} in the graph's place, wanted the result of "
            f"prune_ssl.trace(model): {verb}(model, graph, ...)."
        )
    return graph


def check_same_model(model: nn.Module, graph: PruningGraph) -> None:
    """Refuse a model whose parameters differ from those of the traced model.

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
