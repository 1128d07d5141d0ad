"""Check whether two models can be compared in a report, and note how their kinds differ."""

import re

from torch import nn

from prune_ssl.errors import ModelError
from prune_ssl.models import family_of
from prune_ssl.tracing import PruningGraph, Traced

WITHOUT_TASK = ("Model", "ForPreTraining", "")
"""The ends of the names of model classes without a task's head."""


def differences(small: Traced[nn.Module], dense: Traced[nn.Module]) -> list[str]:
    """Return a note for each difference in kind between a pruned model and a dense one.

    There is no note if the pruned model can have been made from the dense one.

    Raises:
        ModelError: the two models have heads for different tasks.
    """
    model, baseline = small.model, dense.model
    heads, families = (_head(model), _head(baseline)), (_family(model), _family(baseline))
    shown = f"the model is {type(model).__name__}, the dense one {type(baseline).__name__}"
    notes = []
    if heads[0] != heads[1]:
        if not set(heads) & set(WITHOUT_TASK):
            raise ModelError(
                f"report: {shown}. They solve different tasks, so their costs and times cannot be compared. "
                "Give the dense model from which this one was made, or report each alone."
            )
        notes.append(f"The two models differ by a head: {shown}. Costs and times are with the head of each.")
    if families[0] != families[1]:
        notes.append(
            f"The two models are of different families ({families[0]} and {families[1]}): {shown}. Neither "
            "was made from the other, so the kept shares are not a result of pruning."
        )
    elif not _may_come_from(small.graph, dense.graph):
        notes.append(
            f"The model has units that the dense one lacks, so it was not made from it: {shown}. The kept "
            "shares are not a result of pruning."
        )
    return notes


def _head(model: nn.Module) -> str:
    """Return the end of a class's name that names its task: `ForCTC` for PrunedHubertForCTC."""
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
