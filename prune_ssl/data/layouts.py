"""Owns the layouts of corpora on disk: which clips each split has, as rows of text, before any audio is read.

Every reader is a small function of a table; the first layout whose mark is there is taken.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune_ssl.data.metadata import (
    FILE_COLUMN,
    METADATA_NAME,
    SPEAKER_COLUMN,
    read_metadata,
    require_columns,
    with_target,
)
from prune_ssl.errors import DataError

SPLITS = ("train", "validation", "test")
JSONL_NAME = "metadata.jsonl"
KALDI_NAME = "wav.scp"
NEMO_COLUMN = "audio_filepath"

_SEGMENT_SLACK_SECONDS, _SEGMENT_SLACK_SHARE = 0.1, 0.05  # stated lengths are rounded, codecs pad

Row = dict[str, str]


@dataclass(frozen=True)
class Listing:
    """The clips of one split."""

    folder: Path
    """What their file names are relative to."""
    source: str
    """The file that lists them, for messages."""
    rows: list[Row]
    complete: bool = False
    """Whether all audio under `folder` should be listed."""


@dataclass(frozen=True)
class Layout:
    """One way to lay a corpus out."""

    name: str
    marks: tuple[str, ...]
    """Patterns below the root of which one must match."""
    read: Callable[[Path], dict[str, Listing]]


def read_listings(root: Path, target: str | None, blanks: bool = False) -> dict[str, Listing]:
    """List the clips of every split.

    Args:
        root: The folder of the corpus.
        target: The column that must be there, or several joined by "+"; None: any.
        blanks: A row may have nothing in some slots of the target.

    Raises:
        DataError: no layout is recognised, or a list is malformed or lacks a column.
    """
    layout = next((each for each in LAYOUTS if any(_first(root, mark) for mark in each.marks)), None)
    found = layout.read(root) if layout is not None else _split_folders(root, target)
    if target is None:
        return found
    listings = {}
    for split, listing in found.items():
        columns = list(dict.fromkeys(name for row in listing.rows for name in row))
        require_columns(listing.folder / listing.source, columns, target)
        rows = [with_target(row, target, blanks) for row in listing.rows]
        listings[split] = Listing(listing.folder, listing.source, rows, listing.complete)
    return listings


def split_folder(root: Path, split: str) -> Path:
    """Return the folder of a split: its name, or Kaldi's `dev` for validation."""
    alias = root / "dev"
    plain = root / split
    return alias if split == "validation" and not plain.is_dir() and alias.is_dir() else plain


def _split_folders(root: Path, target: str | None) -> dict[str, Listing]:
    """SPLIT/metadata.csv (datasets' audiofolder), SPLIT/metadata.jsonl, or Kaldi's SPLIT/wav.scp."""
    found = {}
    for split in SPLITS:
        folder = split_folder(root, split)
        if not folder.is_dir():
            continue
        if (folder / METADATA_NAME).is_file():
            found[split] = Listing(folder, METADATA_NAME, read_metadata(folder, target), complete=True)
        elif (folder / JSONL_NAME).is_file():
            found[split] = Listing(folder, JSONL_NAME, read_jsonl(folder / JSONL_NAME), complete=True)
        elif (folder / KALDI_NAME).is_file():
            found[split] = Listing(root, KALDI_NAME, read_kaldi(folder))
        else:
            found[split] = Listing(
                folder, METADATA_NAME, read_metadata(folder, target)
            )  # says what is missing
    return found


def read_jsonl(path: Path) -> list[Row]:
    """Read one JSON object per line; `audio_filepath` (NeMo) may stand for `file_name`.

    Raises:
        DataError: a line is not a JSON object, or a NeMo entry begins within its recording.
    """
    rows = []
    for number, entry in _objects(path):
        row = {name: "" if value is None else str(value) for name, value in entry.items()}
        if NEMO_COLUMN in row:
            row.setdefault(FILE_COLUMN, row[NEMO_COLUMN])
            if _seconds(row, "offset"):
                raise DataError(
                    f"{path}: line {number} begins at {row['offset']} s of {row[NEMO_COLUMN]}: a recording "
                    "cut into segments: write one file per utterance"
                )
        rows.append(row)
    return rows


def segment_problem(row: Mapping[str, str], seconds: float) -> str | None:
    """Say why a NeMo entry is no whole recording of so many seconds, or None where it is, or is no entry."""
    stated = _seconds(row, "duration") if NEMO_COLUMN in row else None
    if stated is None or seconds - stated <= max(_SEGMENT_SLACK_SECONDS, _SEGMENT_SLACK_SHARE * seconds):
        return None
    return (
        f"the list gives it {stated:g} s, the file has {seconds:g} s: if it is a segment of a longer "
        "recording, write one file per utterance, else correct its duration"
    )


def _seconds(row: Mapping[str, str], column: str) -> float | None:
    """What a column states; None where it states no number."""
    try:
        return float(row[column])
    except (KeyError, ValueError):
        return None


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a file, one per line, with the number of each."""
    for number, line in enumerate(_lines(path), start=1):
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict):
                raise ValueError(f"a {type(entry).__name__}")
        except ValueError as error:
            raise DataError(f"{path}: line {number} is not a JSON object: {error}") from error
        yield number, entry


def read_kaldi(folder: Path) -> list[Row]:
    """Read wav.scp with text and utt2spk beside it; paths are absolute, or relative to the root or the split.

    Raises:
        DataError: an entry is a command, the recordings are cut by `segments`, or a table misses a clip.
    """
    if (folder / "segments").is_file():
        raise DataError(f"{folder / 'segments'}: recordings cut into segments: write one file per utterance")
    tables = {
        column: dict(_pairs(folder / name))
        for column, name in (("text", "text"), (SPEAKER_COLUMN, "utt2spk"))
        if (folder / name).is_file()
    }
    rows = []
    for clip, path in _pairs(folder / KALDI_NAME):
        if path.endswith("|"):
            raise DataError(f"{folder / KALDI_NAME}: {clip} is a command: write its audio to a file")
        beside = folder / path
        row = {FILE_COLUMN: str(beside.resolve()) if beside.is_file() else path}
        for column, table in tables.items():
            if clip not in table:
                raise DataError(f"{folder / KALDI_NAME}: {clip} has no {column} in the table beside it")
            row[column] = table[clip]
        rows.append(row)
    return rows


def _librispeech(root: Path) -> dict[str, Listing]:
    """train-clean-100/SPEAKER/CHAPTER/*.trans.txt; all train-* there are, dev-clean, test-clean."""
    parts = {"train": "train-*", "validation": "dev-clean", "test": "test-clean"}
    found = {}
    for split, pattern in parts.items():
        rows = []
        for transcripts in sorted(root.glob(f"{pattern}/*/*/*.trans.txt")):
            for clip, text in _pairs(transcripts):
                path = (transcripts.parent / f"{clip}.flac").relative_to(root)
                rows.append({FILE_COLUMN: str(path), "text": text, SPEAKER_COLUMN: clip.partition("-")[0]})
        if rows:
            found[split] = Listing(root, f"{pattern}/*.trans.txt", rows)
    return found


def _speech_commands(root: Path) -> dict[str, Listing]:
    """WORD/SPEAKER_nohash_N.wav with validation_list.txt and testing_list.txt (Warden 2018)."""
    named = {"validation": "validation_list.txt", "test": "testing_list.txt"}
    files = {split: set(_lines(root / name)) for split, name in named.items()}
    rows: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for path in sorted(root.glob("[!_]*/*.wav")):
        name = path.relative_to(root).as_posix()
        split = next((each for each, names in files.items() if name in names), "train")
        speaker = path.name.partition("_nohash_")[0]
        rows[split].append({FILE_COLUMN: name, "label": path.parent.name, SPEAKER_COLUMN: speaker})
    sources = {"train": "WORD/*.wav", **named}
    return {split: Listing(root, sources[split], found) for split, found in rows.items() if found}


def _voxceleb(root: Path) -> dict[str, Listing]:
    """wav/SPEAKER/VIDEO/*.wav; the files of the trial list are validation and test, other speakers train.

    VoxCeleb1's verification has no validation split of its own, so both name the same clips.
    """
    lists = [root / name for name in ("veri_test2.txt", "veri_test.txt") if (root / name).is_file()]
    judged = {name for line in _lines(lists[0]) for name in line.split()[1:]}
    speakers = {Path(name).parts[0] for name in judged}
    rows: dict[bool, list[Row]] = {True: [], False: []}
    for path in sorted((root / "wav").glob("*/*/*.wav")):
        name = path.relative_to(root / "wav").as_posix()
        if name in judged or path.parts[-3] not in speakers:
            rows[name in judged].append({FILE_COLUMN: name, SPEAKER_COLUMN: path.parts[-3]})
    test = Listing(root / "wav", lists[0].name, rows[True])
    return {"train": Listing(root / "wav", "wav/", rows[False]), "validation": test, "test": test}


def _slurp(root: Path) -> dict[str, Listing]:
    """dataset/slurp/{train,devel,test}.jsonl with the audio in slurp_real/; one row per recording."""
    names = {"train": "train", "validation": "devel", "test": "test"}
    found = {}
    for split, name in names.items():
        source = f"dataset/slurp/{name}.jsonl"
        if not (root / source).is_file():
            continue
        rows = []
        for number, entry in _objects(root / source):
            try:
                rows += [
                    {
                        FILE_COLUMN: f"slurp_real/{recording['file']}",
                        "text": entry["sentence"],
                        "scenario": entry["scenario"],
                        "action": entry["action"],
                    }
                    for recording in entry["recordings"]
                ]
            except (KeyError, TypeError) as error:
                raise DataError(
                    f"{root / source}: line {number} is no entry of SLURP ({error}): wanted sentence, "
                    "scenario, action and recordings, each with its file"
                ) from error
        found[split] = Listing(root, source, rows)
    return found


def _fluent(root: Path) -> dict[str, Listing]:
    """Fluent Speech Commands: data/{train,valid,test}_data.csv; columns path, speakerId, action, ..."""
    names = {"train": "train", "validation": "valid", "test": "test"}
    ours = {"path": FILE_COLUMN, "speakerId": SPEAKER_COLUMN, "transcription": "text"}
    found = {}
    for split, name in names.items():
        source = f"data/{name}_data.csv"
        if not (root / source).is_file():
            continue
        with (root / source).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="")
            columns = reader.fieldnames or ()
            if "path" not in columns:
                raise DataError(
                    f"{root / source}: no column 'path': found {', '.join(columns) or 'no header'}"
                )
            rows = [
                row | {name: row[column] for column, name in ours.items() if column in columns}
                for row in reader
            ]
        found[split] = Listing(root, source, rows)
    return found


def _manifests(root: Path) -> dict[str, Listing]:
    """{train,validation,test}.jsonl (or dev.jsonl) in the root, as NeMo and others write them."""
    found = {}
    for split in SPLITS:
        names = (f"{split}.jsonl", "dev.jsonl") if split == "validation" else (f"{split}.jsonl",)
        path = next((root / name for name in names if (root / name).is_file()), None)
        if path is not None:
            found[split] = Listing(root, path.name, read_jsonl(path))
    return found


LAYOUTS: tuple[Layout, ...] = (
    Layout("Speech Commands", ("testing_list.txt",), _speech_commands),
    Layout("VoxCeleb", ("veri_test*.txt",), _voxceleb),
    Layout("SLURP", ("dataset/slurp/train.jsonl",), _slurp),
    Layout("Fluent Speech Commands", ("data/train_data.csv",), _fluent),
    Layout("LibriSpeech", ("train-*/*/*/*.trans.txt", "dev-clean/*/*/*.trans.txt"), _librispeech),
    Layout("JSONL manifests", ("train.jsonl",), _manifests),
)
"""Layouts with a mark of their own; anything else is read as a folder per split."""


def _first(root: Path, pattern: str) -> Path | None:
    return next(root.glob(pattern), None)


def _lines(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable as text in UTF-8: {error}") from error
    return (line for line in text.splitlines() if line.strip())


def _pairs(path: Path) -> Iterable[tuple[str, str]]:
    """`key value...` lines, as Kaldi and LibriSpeech have them."""
    for line in _lines(path):
        key, _, value = line.strip().partition(" ")
        yield key, value.strip()


def missing_splits(found: Mapping[str, Listing], wanted: Sequence[str]) -> list[str]:
    """Return the wanted splits that have no clips."""
    return [split for split in wanted if split not in found or not found[split].rows]
