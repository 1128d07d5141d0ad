"""Owns whether two models may stand side by side in a report, and what to say where their kinds differ."""

import re

from torch import nn

from prune_ssl.errors import ModelError
from prune_ssl.models import family_of
from prune_ssl.tracing import PruningGraph, Traced

WITHOUT_TASK = ("Model", "ForPreTraining", "")
"""Ends of the names of classes that have no head of a task."""


def what_differs(small: Traced[nn.Module], dense: Traced[nn.Module]) -> list[str]:
    """Return what a reader must know before comparing the two; nothing where one was made of the other.

    Args:
        small: the pruned model.
        dense: the dense one.

    Raises:
        ModelError: both have heads, of different tasks.
    """
    model, baseline = small.model, dense.model
    heads, families = (_head(model), _head(baseline)), (_family(model), _family(baseline))
    shown = f"the model is {type(model).__name__}, the dense one {type(baseline).__name__}"
    notes = []
    if heads[0] != heads[1]:
        if not set(heads) & set(WITHOUT_TASK):
            raise ModelError(
                f"report: {shown}, which solve different tasks, so their costs and times say nothing of each "
                "other. Give the dense model that this one was made of, or report each alone."
            )
        notes.append(f"The two models differ by a head: {shown}. Costs and times are with the head of each.")
    if families[0] != families[1]:
        notes.append(
            f"The two models are of different families ({families[0]} and {families[1]}): {shown}. One was "
            "not made of the other, and what is kept is no result of pruning."
        )
    elif not _may_come_from(small.graph, dense.graph):
        notes.append(
            f"The model has units that the dense one lacks, so it was not made of it: {shown}. What is kept "
            "is no result of pruning."
        )
    return notes


def _head(model: nn.Module) -> str:
    """Return the end of a class's name that says the task: `ForCTC` of PrunedHubertForCTC."""
    found = re.search(r"(For[A-Z][A-Za-z]*|Model)$", type(model).__name__)
    return found[0] if found else ""


def _family(model: nn.Module) -> str:
    try:
        return family_of(model).name
    except ModelError:
        return type(model).__name__


def _may_come_from(small: PruningGraph, dense: PruningGraph) -> bool:
    return all(
        name in dense.groups and group.size <= dense.groups[name].size for name, group in small.groups.items()
    )
