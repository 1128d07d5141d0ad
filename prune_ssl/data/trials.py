"""Trial lists of speaker verification: pairs of clips, and whether both are of the same speaker."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from prune_ssl.data.clips import Clip
from prune_ssl.data.files import is_file, is_folder, numbered_lines, read_text, shown
from prune_ssl.data.metadata import numbered_csv
from prune_ssl.errors import DataError

TRIAL_NAMES = ("sv_trials.csv", "trials.csv", "veri_test2.txt", "veri_test.txt")
"""The usual names of a trial list. The last two are VoxCeleb's; veri_test2.txt is the cleaned list."""

PAIR_LIMIT = 10_000
"""The largest number of pairs made from the clips if there is no trial list."""

TARGET_SHARE = 0.1
"""The wanted share of same-speaker pairs. With fewer pairs (below 1,000 of 10,000) the EER gets coarse."""

_COLUMNS = ("file_1", "file_2", "same_speaker")
_KIND = "a trial list"
_SAME = ("1", "1.0", "true", "target", "same")
_OTHER = ("0", "0.0", "false", "nontarget", "impostor", "different")
_VERDICTS = dict.fromkeys(_SAME, True) | dict.fromkeys(_OTHER, False)

# The ways to separate the fields of a line. With tabs or commas the names may hold spaces.
_SPLITS: tuple[Callable[[str], list[str]], ...] = (
    lambda line: line.split("\t"),
    str.split,
    lambda line: line.split(","),
    lambda line: line.split(";"),
)

Fields = tuple[int, tuple[str, str, str]]
"""The number of a line, and its verdict, first file and second file."""


@dataclass(frozen=True)
class Trial:
    """Two clips, and whether they are of the same speaker."""

    first: Path
    second: Path
    same: bool
    """Whether both clips are of the same speaker."""


def find_trials(root: Path, name: str | None = None) -> tuple[Trial, ...] | None:
    """Read the trial list of a folder: the named one, else the first of TRIAL_NAMES that exists.

    Returns:
        The trials, or None if the folder has no trial list.

    Raises:
        DataError: the named list is missing, or the list cannot be read.

    >>> find_trials(Path(".")) is None
    True
    """
    if name is not None:
        return read_trials(root / name, root)
    found = (root / each for each in TRIAL_NAMES)
    path = next((each for each in found if is_file(each)), None)
    return None if path is None else read_trials(path, root)


def read_trials(path: Path, root: Path) -> tuple[Trial, ...]:
    r"""Read a CSV with the columns file_1, file_2, same_speaker, or lines of a verdict and two file names.

    The verdict (1 or 0, target or nontarget) is the first field (VoxCeleb) or the last (Kaldi, SRE).

    Args:
        path: The list.
        root: The folder to which its file names are relative. For VoxCeleb's lists it is root/wav if that
            exists.

    Raises:
        DataError: the list is missing, empty or malformed, all its trials have the same verdict, a trial
            pairs a file with itself, or two lines contradict each other.

    >>> _ = Path("trials.txt").write_text("1 a.wav b.wav\n0 a.wav c.wav\n")
    >>> [trial.same for trial in read_trials(Path("trials.txt"), Path("."))]
    [True, False]
    """
    rows = _rows(path)
    if not rows:
        raise DataError(f"{path}: it lists no trials")
    folder = _folder(path, root, rows[0][1][1])
    trials, known = [], dict[frozenset[str], tuple[bool, int]]()
    for number, (verdict, first, second) in rows:
        same, pair = _VERDICTS[verdict.lower()], frozenset(map(os.path.normpath, (first, second)))
        if len(pair) == 1:
            raise DataError(f"{path}: line {number} pairs {shown(first)} with itself: remove the line")
        before, line = known.setdefault(pair, (same, number))
        if before != same:
            raise DataError(f"{path}: lines {line} and {number} contradict each other on {shown(first)}")
        trials.append(Trial(folder / first, folder / second, same))
    if len({trial.same for trial in trials}) == 1:
        kind = "one speaker" if trials[0].same else "two speakers"
        raise DataError(
            f"{path}: all {len(trials)} trials are of {kind}: wanted some of one speaker and some of two"
        )
    return tuple(trials)


def _folder(path: Path, root: Path, name: str) -> Path:
    below = root / "wav"
    if path.suffix != ".txt" or not is_folder(below):
        return root
    return root if is_file(root / name) and not is_file(below / name) else below


def _rows(path: Path) -> list[Fields]:
    lines = list(numbered_lines(read_text(path, _KIND)))
    if not lines:
        return []
    names = lines[0][1].casefold().replace(";", ",").replace("\t", ",").split(",")
    if {*_COLUMNS} <= {name.strip(' "') for name in names}:
        return _csv_rows(path)
    attempts = [_fields(path, lines, split) for split in _SPLITS]
    # If no way reads all lines, the way that reads the most lines names the first bad one.
    rows, wrong = max(attempts, key=lambda attempt: len(attempt[0]))
    if wrong is not None:
        raise wrong
    return rows


def _fields(
    path: Path, lines: Sequence[tuple[int, str]], split: Callable[[str], list[str]]
) -> tuple[list[Fields], DataError | None]:
    """Return the well-formed lines up to the first malformed one, and the error for that line."""
    parts = [[field.strip() for field in split(line)] for _, line in lines]
    first = sum(_is_verdict(fields[0]) for fields in parts)
    last = sum(_is_verdict(fields[-1]) for fields in parts)
    rows: list[Fields] = []
    for trial, ((number, line), fields) in enumerate(zip(lines, parts, strict=True), start=1):
        one, *names = fields if first >= last else [fields[-1], *fields[:-1]]
        if len(names) != 2 or not all(names) or not _is_verdict(one):
            return rows, _refusal(path, number, trial, line)
        rows.append((number, (one, names[0], names[1])))
    return rows, None


def _csv_rows(path: Path) -> list[Fields]:
    columns, rows = numbered_csv(path, _COLUMNS[0], _KIND)
    first, second, same = (next(name for name in columns if name.casefold() == wanted) for wanted in _COLUMNS)
    found: list[Fields] = []
    for trial, (number, row) in enumerate(rows, start=1):
        fields = (row[same].strip(), row[first].strip(), row[second].strip())
        if not all(fields) or not _is_verdict(fields[0]):
            raise _refusal(path, number, trial, " ".join(fields))
        found.append((number, fields))
    return found


def _is_verdict(field: str) -> bool:
    return field.lower() in _VERDICTS


def _refusal(path: Path, number: int, trial: int, line: str) -> DataError:
    return DataError(
        f"{path}: line {number}: trial {trial} is {shown(line)!r}: wanted a CSV with the columns "
        f"{', '.join(_COLUMNS)}, or lines of 1 or 0 and two file names"
    )


def all_pairs(clips: Sequence[Clip], limit: int = PAIR_LIMIT, seed: int = 0) -> tuple[Trial, ...]:
    """Return every pair of the clips, or `limit` pairs drawn at random. The clips' targets are speakers.

    With many speakers hardly any drawn pair would have the same speaker. If less than TARGET_SHARE of all
    pairs do, half of the drawn pairs (or as many as exist) are taken from the same-speaker pairs.

    >>> clips = [Clip(Path(f"{name}.wav"), target=name[0], seconds=1.0) for name in ("a1", "a2", "b1")]
    >>> [(trial.first.name, trial.second.name, trial.same) for trial in all_pairs(clips)][:2]
    [('a1.wav', 'a2.wav', True), ('a1.wav', 'b1.wav', False)]
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
            # Each pair is in the order of the clips, and the pairs are sorted, as above.
            drawn = np.unique(np.sort(order[np.concatenate(found)], axis=1), axis=0)
    pairs = ((clips[one], clips[other]) for one, other in drawn.tolist())
    return tuple(Trial(one.path, other.path, one.target == other.target) for one, other in pairs)


@dataclass(frozen=True)
class _Pairs:
    """Pairs of N rows, where each row is paired with a run of rows.

    The pairs are numbered and computed on demand, because a list of them could have billions of entries.
    """

    starts: npt.NDArray[np.int64]
    """First partner of each row (N,)."""
    stops: npt.NDArray[np.int64]
    """The row after the last partner of each row (N,)."""

    @classmethod
    def all_of(cls, count: int) -> _Pairs:
        """Pair every row with all later rows, in the order of `itertools.combinations`."""
        return cls(np.arange(1, count + 1), np.full(count, count))

    @property
    def total(self) -> int:
        """The number of pairs."""
        return int((self.stops - self.starts).sum())

    def at(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the pairs (K, 2) with these numbers (K,)."""
        ends = np.cumsum(self.stops - self.starts)
        rows = np.searchsorted(ends, places, side="right")
        return np.stack([rows, self.stops[rows] - (ends[rows] - places)], axis=1)


def _by_speaker(clips: Sequence[Clip]) -> tuple[npt.NDArray[np.int64], _Pairs, _Pairs]:
    """Return the clips sorted by speaker (N,), and the pairs of one speaker and of two speakers."""
    _, speakers = np.unique([clip.target for clip in clips], return_inverse=True)
    order = np.argsort(speakers, kind="stable")
    rows, stops = np.arange(len(clips)), np.searchsorted(speakers[order], speakers[order], side="right")
    return order, _Pairs(rows + 1, stops), _Pairs(stops, np.full(len(clips), len(clips)))
