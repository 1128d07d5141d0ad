"""The layouts of corpora on disk: each reader lists the clips of the splits as rows of text.

No audio is read here. LAYOUTS is the table of readers. The first layout whose mark is found is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prune_ssl.data.files import is_file, is_folder, numbered_lines, read_text, shown
from prune_ssl.data.jsonl import JSONL_NAME, columns_of, json_objects, read_jsonl
from prune_ssl.data.metadata import (
    FILE_COLUMN,
    METADATA_NAME,
    SPEAKER_COLUMN,
    Row,
    read_csv,
    read_metadata,
    require_columns,
    with_target,
)
from prune_ssl.errors import DataError

SPLITS = ("train", "validation", "test")
KALDI_NAME = "wav.scp"


@dataclass(frozen=True)
class Listing:
    """The clips of one split."""

    folder: Path
    """The folder to which the file names are relative."""
    source: str
    """The file that lists the clips, for messages."""
    rows: list[Row]
    """One row per clip, with the column `file_name`."""
    complete: bool = False
    """Whether every audio file under `folder` should be listed."""
    confined: bool = False
    """Whether the files must lie in the corpus. They must for tables of names, not for lists of paths
    (manifests and wav.scp)."""

    def locate(self, row: Row) -> Path:
        """Return the path of a row's file. Spaces around the name and Windows' backslashes are tolerated."""
        name = row.get(FILE_COLUMN, "")
        path, bare = self.folder / name, name.strip()
        if (bare != name or "\\" in name) and not is_file(path):
            others = (self.folder / bare, self.folder / bare.replace("\\", "/"))
            return next((other for other in others if is_file(other)), path)
        return path


@dataclass(frozen=True)
class Layout:
    """One way to lay out a corpus on disk.

    >>> def read(root: Path) -> dict[str, Listing]:
    ...     names = sorted(path.name for path in root.glob("*.wav"))
    ...     rows = [{"file_name": name, "label": name.partition("_")[0]} for name in names]
    ...     return {"train": Listing(root, "*.wav", rows)}
    >>> Layout("labels in file names", ("labels_in_names",), read).name
    'labels in file names'
    """

    name: str
    """The name for messages, unique in LAYOUTS."""
    marks: tuple[str, ...]
    """Glob patterns below the root. The layout is recognised if one of them matches a file."""
    read: Callable[[Path], dict[str, Listing]]
    """Takes the root, and returns the clips of each split (of `SPLITS`) as rows of text."""


def read_listings(root: Path, target: str | None, blanks: bool = False) -> dict[str, Listing]:
    """List the clips of every split.

    Args:
        root: The folder of the corpus.
        target: The column that every list must have, or several joined by "+". None needs no column.
        blanks: Whether some slots of a row's target may be empty.

    Raises:
        DataError: no layout is recognised, a list is malformed, or it lacks a column.
    """
    layout = next((each for each in LAYOUTS if any(_first(root, mark) for mark in each.marks)), None)
    if layout is not None:
        found = layout.read(root)
    elif is_file(root / "train.jsonl"):
        found = _manifests(root, target)
    else:
        found = _split_folders(root, target)
    if target is None:
        return found
    listings = {}
    for split, listing in found.items():
        require_columns(listing.folder / listing.source, columns_of(listing.rows), target)
        listings[split] = replace(listing, rows=[with_target(row, target, blanks) for row in listing.rows])
    return listings


def split_folder(root: Path, split: str) -> Path:
    """Return the folder of a split: its own name, or Kaldi's name `dev` for validation."""
    alias = root / "dev"
    plain = root / split
    return alias if split == "validation" and not is_folder(plain) and is_folder(alias) else plain


def _split_folders(root: Path, target: str | None) -> dict[str, Listing]:
    """Read SPLIT/metadata.csv (datasets' audiofolder), SPLIT/metadata.jsonl, or Kaldi's SPLIT/wav.scp."""
    found = {}
    for split in SPLITS:
        folder = split_folder(root, split)
        if not is_folder(folder):
            continue
        if is_file(folder / METADATA_NAME):
            rows = read_metadata(folder, target)
            if is_file(folder / JSONL_NAME):
                _require_same(folder, rows, read_jsonl(folder / JSONL_NAME, target), target)
            found[split] = Listing(folder, METADATA_NAME, rows, complete=True, confined=True)
        elif is_file(folder / JSONL_NAME):
            rows = read_jsonl(folder / JSONL_NAME, target)
            found[split] = Listing(folder, JSONL_NAME, rows, complete=True, confined=True)
        elif is_file(folder / KALDI_NAME):
            found[split] = Listing(root, KALDI_NAME, read_kaldi(folder))
        else:
            read_metadata(folder, target)  # raises the error that names the missing file
    return found


def _require_same(folder: Path, table: list[Row], objects: list[Row], target: str | None) -> None:
    """Refuse two lists of one split whose file names or targets differ."""

    def used(row: Row) -> tuple[str, str]:
        return row.get(FILE_COLUMN, ""), with_target(row, target)[target] if target else ""

    one, other = sorted(map(used, table)), sorted(map(used, objects))
    if one != other:
        raise DataError(
            f"{folder}: {METADATA_NAME} lists {len(one)} clips and {JSONL_NAME} {len(other)}, "
            "and they differ: remove one of the two files"
        )


def read_kaldi(folder: Path) -> list[Row]:
    """Read wav.scp, and text and utt2spk beside it. Paths are absolute, or relative to the root or the split.

    Raises:
        DataError: an entry is a command, a `segments` file cuts the recordings, or a table lacks a clip.
    """
    if is_file(folder / "segments"):
        raise DataError(
            f"{folder / 'segments'}: recordings cut into segments cannot be read: write one file per "
            "utterance"
        )
    tables = {
        column: _table(folder / name)
        for column, name in (("text", "text"), (SPEAKER_COLUMN, "utt2spk"))
        if is_file(folder / name)
    }
    rows = []
    for clip, path in _table(folder / KALDI_NAME).items():
        if path.endswith("|") or path.startswith("|"):
            raise DataError(f"{folder / KALDI_NAME}: {shown(clip)} is a command: write its audio to a file")
        beside = folder / path
        row = {FILE_COLUMN: str(beside.resolve()) if is_file(beside) else path}
        for column, table in tables.items():
            if clip not in table:
                raise DataError(
                    f"{folder / KALDI_NAME}: {shown(clip)} has no {column} in the table beside it"
                )
            row[column] = table[clip]
        rows.append(row)
    return rows


def _librispeech(root: Path) -> dict[str, Listing]:
    """Read PART/SPEAKER/CHAPTER/*.trans.txt from the parts train-*, dev-clean and test-clean."""
    parts = {"train": "train-*", "validation": "dev-clean", "test": "test-clean"}
    found = {}
    for split, pattern in parts.items():
        rows = []
        for transcripts in sorted(root.glob(f"{pattern}/*/*/*.trans.txt")):
            for clip, text in _table(transcripts).items():
                if "/" in clip:
                    raise DataError(f"{transcripts}: {shown(clip)} is not the name of a clip in its folder")
                path = (transcripts.parent / f"{clip}.flac").relative_to(root)
                rows.append({FILE_COLUMN: str(path), "text": text, SPEAKER_COLUMN: clip.partition("-")[0]})
        if rows:
            found[split] = Listing(root, f"{pattern}/*.trans.txt", rows)
    return found


def _speech_commands(root: Path) -> dict[str, Listing]:
    """Read WORD/SPEAKER_nohash_N.wav with validation_list.txt and testing_list.txt (Warden 2018)."""
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


VOXCELEB_LISTS = ("veri_test2.txt", "veri_test.txt")


def _voxceleb(root: Path) -> dict[str, Listing]:
    """Read wav/SPEAKER/VIDEO/*.wav. Files of the trial list are for judging; the other speakers are train.

    The verification task of VoxCeleb1 has no validation split, so validation and test are the same clips.
    """
    lists = [root / name for name in VOXCELEB_LISTS if is_file(root / name)]
    judged = {name for line in _lines(lists[0]) for name in line.split()[1:]}
    speakers = {speaker for name in judged for speaker in Path(name).parts[:1]}
    rows: dict[bool, list[Row]] = {True: [], False: []}
    for path in sorted((root / "wav").glob("*/*/*.wav")):
        name = path.relative_to(root / "wav").as_posix()
        if name in judged or path.parts[-3] not in speakers:
            rows[name in judged].append({FILE_COLUMN: name, SPEAKER_COLUMN: path.parts[-3]})
    test = Listing(root / "wav", lists[0].name, rows[True])
    return {"train": Listing(root / "wav", "wav/", rows[False]), "validation": test, "test": test}


_SLURP_COLUMNS = {"text": "sentence", "scenario": "scenario", "action": "action"}


def _slurp(root: Path) -> dict[str, Listing]:
    """Read dataset/slurp/{train,devel,test}.jsonl with the audio in slurp_real/, one row per recording."""
    names = {"train": "train", "validation": "devel", "test": "test"}
    found = {}
    for split, name in names.items():
        source = f"dataset/slurp/{name}.jsonl"
        if not is_file(root / source):
            continue
        rows = []
        for number, entry in json_objects(root / source):
            try:
                rows += list(_slurp_rows(entry))
            except (KeyError, TypeError) as error:
                raise DataError(
                    f"{root / source}: line {number} is not an entry of SLURP ({error}): wanted sentence, "
                    "scenario, action and recordings, each with its file"
                ) from error
        found[split] = Listing(root, source, rows, confined=True)
    return found


def _slurp_rows(entry: Mapping[str, Any]) -> Iterator[Row]:
    for recording in entry["recordings"]:
        row = {FILE_COLUMN: recording["file"]} | {to: entry[name] for to, name in _SLURP_COLUMNS.items()}
        wrong = next((name for name, value in row.items() if not isinstance(value, str)), None)
        if wrong is not None:
            raise TypeError(f"its {wrong} is {shown(row[wrong])}")
        yield row | {FILE_COLUMN: f"slurp_real/{row[FILE_COLUMN]}"}


def _fluent(root: Path) -> dict[str, Listing]:
    """Read data/{train,valid,test}_data.csv with the columns path, speakerId, action and others."""
    names = {"train": "train", "validation": "valid", "test": "test"}
    ours = {"path": FILE_COLUMN, "speakerId": SPEAKER_COLUMN, "transcription": "text"}
    found = {}
    for split, name in names.items():
        source = f"data/{name}_data.csv"
        if not is_file(root / source):
            continue
        columns, table = read_csv(root / source, "path")
        if "path" not in columns:
            raise DataError(
                f"{root / source}: no column 'path': found {shown(', '.join(columns)) or 'no header'}"
            )
        rows = [
            row | {name: row[column] for column, name in ours.items() if column in columns} for row in table
        ]
        found[split] = Listing(root, source, rows, confined=True)
    return found


def _manifests(root: Path, target: str | None) -> dict[str, Listing]:
    """Read {train,validation,test}.jsonl (or dev.jsonl) in the root, as NeMo and others write them."""
    found = {}
    for split in SPLITS:
        names = (f"{split}.jsonl", "dev.jsonl") if split == "validation" else (f"{split}.jsonl",)
        path = next((root / name for name in names if is_file(root / name)), None)
        if path is not None:
            found[split] = Listing(root, path.name, read_jsonl(path, target))
    return found


LAYOUTS: list[Layout] = [
    Layout("Speech Commands", ("testing_list.txt",), _speech_commands),
    Layout("VoxCeleb", VOXCELEB_LISTS, _voxceleb),
    Layout("SLURP", ("dataset/slurp/train.jsonl",), _slurp),
    Layout("Fluent Speech Commands", ("data/train_data.csv",), _fluent),
    Layout("LibriSpeech", ("train-*/*/*/*.trans.txt", "dev-clean/*/*/*.trans.txt"), _librispeech),
]
"""Layouts with a mark of their own. Any other folder is read as JSONL manifests or as a folder per split."""


def register_layout(layout: Layout) -> None:
    """Add a layout of corpora. Registered layouts are tried before the built-in ones, the newest first.

    A layout with a known name replaces the old one. See docs/add_a_layout.md.

    Raises:
        DataError: `layout` is not a Layout, or it has no marks by which it could be recognised.

    >>> register_layout(Layout("my corpus", ("my_corpus.txt",), read=lambda root: {}))
    >>> LAYOUTS[0].name
    'my corpus'
    >>> _ = LAYOUTS.pop(0)
    """
    if not isinstance(layout, Layout):
        raise DataError(f"register_layout: found {layout!r:.60}, wanted a prune_ssl.data.Layout")
    if not isinstance(layout.marks, tuple) or not layout.marks or not all(layout.marks):
        raise DataError(
            f"register_layout: {layout.name!r} has the marks {layout.marks!r}, wanted a tuple of patterns of "
            "files that only such a corpus has"
        )
    LAYOUTS[:] = [layout, *(each for each in LAYOUTS if each.name != layout.name)]


def _first(root: Path, pattern: str) -> Path | None:
    return next(root.glob(pattern), None)


def _lines(path: Path) -> Iterator[str]:
    return (line for _, line in numbered_lines(read_text(path)))


def _table(path: Path) -> dict[str, str]:
    """Read lines of `key value...`, as Kaldi and LibriSpeech have them.

    Raises:
        DataError: a key appears twice.
    """
    found: dict[str, str] = {}
    for number, line in numbered_lines(read_text(path)):
        key, *value = line.split(maxsplit=1)
        if key in found:
            raise DataError(f"{path}: line {number} lists {shown(key)} again: leave one line")
        found[key] = value[0].strip() if value else ""
    return found


def missing_splits(found: Mapping[str, Listing], wanted: Sequence[str]) -> list[str]:
    """Return the wanted splits that have no clips."""
    return [split for split in wanted if split not in found or not found[split].rows]
