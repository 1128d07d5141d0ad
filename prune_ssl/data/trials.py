"""Owns trial lists of speaker verification: pairs of clips and whether one speaker said both."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from prune_ssl.data.clips import Clip
from prune_ssl.errors import DataError

TRIAL_NAMES = ("sv_trials.csv", "trials.csv", "veri_test2.txt", "veri_test.txt")
"""Where a trial list is looked for when none is named; the last two are VoxCeleb's (the first is cleaned)."""

PAIR_LIMIT = 10_000
"""So many pairs are drawn from the clips when there is no list and there would be more."""

TARGET_SHARE = 0.1
"""With fewer pairs of one speaker among the drawn (1,000 of 10,000), EER and its interval get coarse."""

_COLUMNS = ("file_1", "file_2", "same_speaker")
_VERDICTS = {"1": True, "0": False, "true": True, "false": False, "target": True, "nontarget": False}


@dataclass(frozen=True)
class Trial:
    """Two clips, and whether they are of one speaker."""

    first: Path
    second: Path
    same: bool


def find_trials(root: Path, name: str | None = None) -> tuple[Trial, ...] | None:
    """Read a folder's trial list: the one named, else the first of TRIAL_NAMES that is there, else None.

    Raises:
        DataError: the named list is missing, or a list cannot be read.
    """
    if name is not None:
        return read_trials(root / name, root)
    found = (root / each for each in TRIAL_NAMES)
    path = next((each for each in found if each.is_file()), None)
    return None if path is None else read_trials(path, root)


def read_trials(path: Path, root: Path) -> tuple[Trial, ...]:
    """Read CSV with the columns file_1, file_2, same_speaker, or VoxCeleb's `1 file file` lines.

    Args:
        path: The list.
        root: What its file names are relative to (VoxCeleb's: root/wav, if it is there).

    Raises:
        DataError: it is missing, empty or malformed.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable as a trial list: {error}") from error
    lines = [line for line in text.splitlines() if line.strip()]
    rows = _csv_rows(lines) if lines and "," in lines[0] else [tuple(line.split()) for line in lines]
    folder = root / "wav" if path.suffix == ".txt" and (root / "wav").is_dir() else root
    trials = []
    for number, row in enumerate(rows, start=1):
        if len(row) != 3 or row[0].lower() not in _VERDICTS:
            raise DataError(
                f"{path}: trial {number} is {' '.join(map(str, row))!r}: wanted a CSV with the columns "
                f"{', '.join(_COLUMNS)}, or lines of 1 or 0 and two file names"
            )
        trials.append(Trial(folder / row[1], folder / row[2], _VERDICTS[row[0].lower()]))
    if not trials:
        raise DataError(f"{path}: it lists no trials")
    return tuple(trials)


def _csv_rows(lines: list[str]) -> list[tuple[str, ...]]:
    reader = csv.DictReader(lines)
    if not {*_COLUMNS} <= {*(reader.fieldnames or ())}:
        return [tuple(line.split()) for line in lines]  # no header of ours: refused as its first line
    first, second, same = _COLUMNS
    return [(row[same] or "", row[first] or "", row[second] or "") for row in reader]


def all_pairs(clips: Sequence[Clip], limit: int = PAIR_LIMIT, seed: int = 0) -> tuple[Trial, ...]:
    """Return every pair of the clips, or `limit` of them drawn at random; targets are the speakers.

    With many speakers hardly any drawn pair would be of one speaker: where less than TARGET_SHARE of all are,
    half of the drawn ones are (or as many as there are).
    """
    count = len(clips)
    total = count * (count - 1) // 2
    generator = np.random.default_rng(seed)
    if total <= limit:
        drawn = _Pairs.all_of(count).at(np.arange(total))
    else:
        order, targets, impostors = _by_speaker(clips)
        if targets.total >= TARGET_SHARE * total:
            drawn = _Pairs.all_of(count).at(np.sort(generator.choice(total, size=limit, replace=False)))
        else:
            same = min(targets.total, limit // 2)
            parts = ((targets, same), (impostors, limit - same))
            found = [part.at(generator.choice(part.total, size=size, replace=False)) for part, size in parts]
            # A pair is named in the order of the clips, and the pairs are sorted, as above.
            drawn = np.unique(np.sort(order[np.concatenate(found)], axis=1), axis=0)
    pairs = ((clips[one], clips[other]) for one, other in drawn.tolist())
    return tuple(Trial(one.path, other.path, one.target == other.target) for one, other in pairs)


@dataclass(frozen=True)
class _Pairs:
    """Pairs of N rows, each row with a run of rows; numbered, as a list of them could have billions."""

    starts: npt.NDArray[np.int64]
    """First partner of each row (N,)."""
    stops: npt.NDArray[np.int64]
    """What follows its last one (N,)."""

    @classmethod
    def all_of(cls, count: int) -> _Pairs:
        """Every row with all that follow, in the order of `itertools.combinations`."""
        return cls(np.arange(1, count + 1), np.full(count, count))

    @property
    def total(self) -> int:
        """How many there are."""
        return int((self.stops - self.starts).sum())

    def at(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The pairs (K, 2) at these places (K,)."""
        ends = np.cumsum(self.stops - self.starts)
        rows = np.searchsorted(ends, places, side="right")
        return np.stack([rows, self.stops[rows] - (ends[rows] - places)], axis=1)


def _by_speaker(clips: Sequence[Clip]) -> tuple[npt.NDArray[np.int64], _Pairs, _Pairs]:
    """Places of the clips (N,) with those of a speaker together, and its pairs of one and of two speakers."""
    _, speakers = np.unique([clip.target for clip in clips], return_inverse=True)
    order = np.argsort(speakers, kind="stable")
    rows, stops = np.arange(len(clips)), np.searchsorted(speakers[order], speakers[order], side="right")
    return order, _Pairs(rows + 1, stops), _Pairs(stops, np.full(len(clips), len(clips)))
