"""The facts that a caller gives a report besides the models: title, budget, history, settings, folder."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prune_ssl.fields_in_help import with_fields
from prune_ssl.selection import Budget


@with_fields
@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Facts on a model that only the caller of `report` knows. Every field is optional.

    >>> RunFacts(title="HuBERT at half its MACs", budget="macs=50%").made
    'pruned'
    """

    title: str = "Pruning report"
    """The heading of the report."""
    budget: str | Budget | None = None
    """The budget, such as `macs=50%`."""
    history: Iterable[Mapping[str, object]] = ()
    """The logged steps of training: phase, step, loss, learning rate; of gate training also expected and
    target (fractions of the dense cost), and keeps by section or kind of unit."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """How the model was made. The report shows these settings as they are."""
    outcomes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The outcomes of each stage on each clip: `to_data` of `prune_ssl.tasks.Outcomes`."""
    recipe: Mapping[str, object] = field(default_factory=dict)
    """The recipe of the run that made the model, as plain data. The report's JSON holds it."""
    made: str = "pruned"
    """The word for the model: pruned, student or fine-tuned."""
    folder: str | Path | None = None
    """The folder where the model was saved. The report reads the size on disk there."""
    reference_seconds: float | None = None
    """The audio length of costs that are shown for one length (sections, budget). None: 10 s if it is one of
    the timed lengths, else the longest of them."""
    reached: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Term of the budget -> the measured amounts of the model and of the dense one, under the conditions of
    the term: milliseconds, or bytes of an exported file. Terms that are missing are taken from the report."""
