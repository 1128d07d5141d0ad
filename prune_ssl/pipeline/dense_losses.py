"""The losses of the dense training, which a run keeps in its folder for the report of its models."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from prune_ssl.training.record import Entry, losses_of
from prune_ssl.writing import write_text

LOSSES_FILE = "dense_losses.json"
"""It is written before the dense model, so that a resumed run, which finds that model, has its losses too."""
DENSE = "dense"
"""The phase of these losses."""


def keep_losses(folder: Path, log: Iterable[Mapping[str, float]]) -> None:
    """Write the losses of a trainer's log into the folder of a run."""
    write_text(folder / LOSSES_FILE, json.dumps(losses_of(log, DENSE)) + "\n")


def kept_losses(folder: Path) -> list[Entry]:
    """Return the losses of the dense training of a run, or none if there was none.

    Earlier versions kept no losses, so a run that they began has none either.
    """
    try:
        found = json.loads((folder / LOSSES_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []
