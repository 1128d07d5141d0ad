"""Owns reading SPLIT/metadata.csv: one row per clip, every field as text."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import datasets

from prune_ssl.errors import DataError
from prune_ssl.writing import temporary_folder

METADATA_NAME = "metadata.csv"
FILE_COLUMN = "file_name"
SPEAKER_COLUMN = "speaker"

SLOT_MARK = "|"
"""Between the slots of a target, and between their values."""


def target_columns(target: str) -> tuple[str, ...]:
    """The columns that a target names: "scenario+action" is one label of two, "size|milk" are two slots.

    Both may be mixed: "scenario+action|speaker" are two slots, of which the first is made of two columns.
    """
    return tuple(target.replace(SLOT_MARK, "+").split("+"))


def with_target(row: dict[str, str], target: str, blanks: bool = False) -> dict[str, str]:
    """Add the joined target to a row; empty where one of its parts is.

    Args:
        row: of a list.
        target: its columns.
        blanks: slots may be blank, as long as one is not: "yes|" has a first slot and no second one.
    """
    slots = [[row.get(name, "").strip() for name in slot.split("+")] for slot in target.split(SLOT_MARK)]
    given = [parts for parts in slots if any(parts)] if blanks else slots
    if blanks:
        slots = [parts if any(parts) else [""] for parts in slots]
    whole = bool(given) and all(part for parts in given for part in parts)
    return {**row, target: SLOT_MARK.join("_".join(parts) for parts in slots) if whole else ""}


def read_metadata(split_folder: Path, target: str | None) -> list[dict[str, str]]:
    """Read the rows of a split's metadata.csv; labels stay text ("007" and "NA" are labels too).

    Args:
        split_folder: The folder that holds metadata.csv and the audio.
        target: The column to predict, e.g. "label", which must be there; None: any columns.

    Raises:
        DataError: the file is missing, is not CSV in UTF-8, lacks `file_name` or `target`, or has no rows.
    """
    path = split_folder / METADATA_NAME
    if not path.is_file():
        raise DataError(
            f"{split_folder}: no {METADATA_NAME} in it: "
            f"write one with the columns {FILE_COLUMN} and {target or 'more'}, a row per clip"
        )
    try:
        columns, has_rows = _columns(path)
        require_columns(path, columns, target)
        if not has_rows:
            raise DataError(f"{path}: it has a header but no clips: add a row per clip")
        return _rows(path, columns)
    except (csv.Error, UnicodeDecodeError, datasets.exceptions.DatasetGenerationError) as error:
        cause = error.__cause__ or error
        raise DataError(f"{path}: not readable as CSV in UTF-8 with one header line: {cause}") from error


def _columns(path: Path) -> tuple[list[str], bool]:
    """The header, and whether a row follows it."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        return next(reader, []), next(reader, None) is not None


def require_columns(path: Path, columns: Sequence[str], target: str | None) -> None:
    """Refuse a list without the file names or the target's columns.

    Raises:
        DataError: a column is missing; the message names those that are there.
    """
    wanted = (FILE_COLUMN, *(target_columns(target) if target else ()))
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise DataError(
            f"{path}: no column {' and no column '.join(map(repr, missing))}: "
            f"found {', '.join(columns) or 'an empty file'}; "
            f"wanted {','.join(wanted)} (other columns are welcome)"
        )


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    features = datasets.Features({name: datasets.Value("string") for name in columns})
    # The builder wants a cache folder even in memory: its own, so that nothing is left in the user's home.
    with temporary_folder() as cache, _no_progress_bars():
        table = datasets.Dataset.from_csv(
            str(path), features=features, cache_dir=str(cache), keep_in_memory=True, keep_default_na=False
        )
        return list(table.to_list())


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    were_disabled = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not were_disabled:
            datasets.enable_progress_bars()
