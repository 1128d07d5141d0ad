"""Owns what a report is told beside the models: how they were made, what was asked, where they are saved."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prune_ssl.selection import Budget


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What only the caller of `report` knows of a model; every field may be left out.

    >>> RunFacts(title="HuBERT at half its MACs", budget="macs=50%").made
    'pruned'
    """

    title: str = "Pruning report"
    """Heading."""
    budget: str | Budget | None = None
    """What was asked to be kept, such as `macs=50%`."""
    history: Iterable[Mapping[str, object]] = ()
    """Logged steps of training: step, expected and target (fractions of the dense cost), phase, keeps by
    section or kind of unit."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """How the model was made; the report shows it as it is given."""
    made: str = "pruned"
    """What the model is called beside the dense one."""
    folder: str | Path | None = None
    """Where the model was saved: its size on disk is read there."""
    reference_seconds: float | None = None
    """Audio length of costs that are shown for one length (sections, budget). None: 10 s where that is one of
    the timed lengths, else the longest of them."""
