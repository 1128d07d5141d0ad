"""The kept table: a row for each cell with the outcome of every clip, and what was judged in each study."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from methods.studies import Key
from prune_ssl.writing import write_text


@dataclass(frozen=True)
class Judged:
    """What the models of a study were judged on. It is the same for all of its rows."""

    study: str
    metric: str
    split: str
    files: tuple[str, ...]
    """The clips, in the order of the corpus."""
    speakers: tuple[str, ...]
    """The speaker of each clip."""
    words: tuple[int, ...] = ()
    """WER: the number of words of each clip."""
    trials: tuple[tuple[int, int, int], ...] = ()
    """EER: two clips by their places, and 1 if they are of one speaker."""


@dataclass(frozen=True)
class Row:
    """A finished cell."""

    study: str
    method: str
    percent: int
    seed: int
    value: float
    """The metric over all clips, 0 to 1."""
    outcomes: str | tuple[float, ...]
    """Accuracy: a 1 for each clip that was right and a 0 for each other. WER: the errors of each clip. EER:
    the score of each trial."""
    macs: int
    macs_kept: float
    """As a fraction of the dense model's."""
    params: int
    params_kept: float
    core_seconds: float | None
    """Processor time of training with loading and judging. None: the model was given."""
    wall_seconds: float | None
    cut: float | None = None
    """The metric right after the (last) cut."""
    gates: Mapping[str, float] = field(default_factory=dict)
    """Of gate training, as fractions of the dense cost: `expected`, `target` and `open` at its end, `lag`."""
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        return self.study, self.method, self.percent, self.seed


@dataclass
class Table:
    """All rows, and what each study was judged on."""

    judged: dict[str, Judged] = field(default_factory=dict)
    rows: dict[Key, Row] = field(default_factory=dict)

    def add(self, judged: Judged, row: Row) -> None:
        """Add a row, or replace the one of its cell.

        Raises:
            ValueError: other rows of the study were judged on something else.
        """
        known = self.judged.setdefault(judged.study, judged)
        if known != judged:
            raise ValueError(
                f"{judged.study}: the kept rows were judged on other clips ({len(known.files)} of "
                f"{known.split}) than this one ({len(judged.files)} of {judged.split}): give another --table."
            )
        self.rows[row.key] = row

    def drop(self, keys: Iterable[Key]) -> None:
        """Remove rows, and what a study was judged on with the last of its rows."""
        for key in keys:
            self.rows.pop(key, None)
        left = {row.study for row in self.rows.values()}
        self.judged = {name: each for name, each in self.judged.items() if name in left}

    def at(self, study: str, method: str, percent: int) -> dict[int, Row]:
        """Return the rows of a method at a budget by seed."""
        found = [row for key, row in sorted(self.rows.items()) if key[:3] == (study, method, percent)]
        return {row.seed: row for row in found}


def load_table(path: Path) -> Table:
    """Read a table; a file that is not there is an empty one."""
    table = Table()
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        data = json.loads(line)
        if "files" in data:
            judged = read_judged(data)
            table.judged[judged.study] = judged
        else:
            row = read_row(data)
            table.rows[row.key] = row
    return table


def save_table(path: Path, table: Table) -> None:
    """Write a table, sorted, with one JSON object a line."""
    lines = [_line(table.judged[name]) for name in sorted(table.judged)]
    lines += [_line(table.rows[key]) for key in sorted(table.rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(f"{line}\n" for line in lines))


def _line(entry: Judged | Row) -> str:
    return json.dumps(asdict(entry), separators=(",", ":"))


def read_judged(data: Mapping[str, Any]) -> Judged:
    lists = {name: tuple(data[name]) for name in ("files", "speakers", "words")}
    return Judged(**{**data, **lists, "trials": tuple((a, b, same) for a, b, same in data["trials"])})


def read_row(data: Mapping[str, Any]) -> Row:
    outcomes = data["outcomes"]
    return Row(**{**data, "outcomes": outcomes if isinstance(outcomes, str) else tuple(outcomes)})
