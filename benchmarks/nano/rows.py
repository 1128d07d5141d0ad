"""The kept rows: what each cell's model did on every clip, in a file of one JSON object a line."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nano.cells import CLEAN, Key
from prune_ssl.tasks import outcomes_from_data
from prune_ssl.tasks.differences import AnyOutcomes
from prune_ssl.writing import write_text


@dataclass(frozen=True)
class Row:
    """A finished cell."""

    task: str
    method: str
    mode: str
    seed: int
    split: str
    metric: str
    results: Mapping[str, Mapping[str, float]]
    """All metrics with their intervals, by the clips: `clean`, another corpus, or a condition."""
    outcomes: Mapping[str, Mapping[str, str]]
    """The outcome on each clip, the same way."""
    macs: int
    params: int
    latency_ms: float
    core_seconds: float
    """Processor time of this cell alone, with loading and judging."""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """What names the row."""
        return self.task, self.method, self.mode, self.seed

    def value(self, clips: str = CLEAN) -> float:
        """Return the metric on some clips, 0 to 1."""
        return self.results[clips][self.metric]

    def on(self, clips: str = CLEAN) -> AnyOutcomes:
        """Return the outcomes on some clips."""
        return outcomes_from_data(self.outcomes[clips])


Rows = dict[Key, Row]


def load_rows(path: Path) -> Rows:
    """Read the rows of a file; one that is not there has none."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    rows = [read_row(json.loads(line)) for line in lines]
    return {row.key: row for row in rows}


def save_rows(path: Path, rows: Rows) -> None:
    """Write the rows, sorted."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(asdict(rows[key]), separators=(",", ":")) for key in sorted(rows))
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_row(data: Mapping[str, Any]) -> Row:
    """Return the row that plain data hold."""
    return Row(**data)


def at(rows: Rows, task: str, method: str, mode: str) -> dict[int, Row]:
    """Return the rows of a method on a task by seed."""
    return {key[3]: row for key, row in sorted(rows.items()) if key[:3] == (task, method, mode)}
