"""Tables of clips: read SPLIT/metadata.csv with every field as text, and check the columns of any list."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from prune_ssl.data.files import file_problem, read_text, shown
from prune_ssl.errors import DataError

METADATA_NAME = "metadata.csv"
FILE_COLUMN = "file_name"
SPEAKER_COLUMN = "speaker"

SLOT_MARK = "|"
"""The mark between the slots of a target, and between their values."""

# The index column that pandas writes without a name, and the name that pandas gives it after reading it back.
_INDEX = re.compile(r"(Unnamed: \d+(_level_\d+)?)?")
_DELIMITERS = (",", ";", "\t")
_ALIASES = ("path", "file", "filename", "filepath", "audio", "audio_path", "wav", "audio_filepath")

Row = dict[str, str]


def target_columns(target: str) -> tuple[str, ...]:
    """Return the columns that a target names.

    "scenario+action" is one label made of two columns, and "size|milk" has two slots. Both marks may be
    combined: "scenario+action|speaker" has two slots, and the first is made of two columns.

    >>> target_columns("scenario+action|speaker")
    ('scenario', 'action', 'speaker')
    """
    return tuple(target.replace(SLOT_MARK, "+").split("+"))


def with_target(row: Row, target: str, blanks: bool = False) -> Row:
    """Return a row with its joined target as one more column. It is empty if a part of the target is empty.

    Args:
        row: A row of a list.
        target: The columns of the target.
        blanks: Whether slots may be empty as long as one is not: "yes|" has only a first slot.

    >>> with_target({"scenario": "alarm", "action": "set"}, "scenario+action")["scenario+action"]
    'alarm_set'
    """
    slots = [[row.get(name, "").strip() for name in slot.split("+")] for slot in target.split(SLOT_MARK)]
    given = [parts for parts in slots if any(parts)] if blanks else slots
    if blanks:
        slots = [parts if any(parts) else [""] for parts in slots]
    whole = bool(given) and all(part for parts in given for part in parts)
    return {**row, target: SLOT_MARK.join("_".join(parts) for parts in slots) if whole else ""}


def read_metadata(split_folder: Path, target: str | None) -> list[Row]:
    """Read the rows of a split's metadata.csv. Labels stay text, so "007" and "NA" are labels too.

    Args:
        split_folder: The folder that holds metadata.csv and the audio.
        target: The column to predict, for example "label". It must exist. None needs no column.

    Raises:
        DataError: the file is missing, is not CSV in UTF-8, lacks `file_name` or `target`, or has no rows.
    """
    path = split_folder / METADATA_NAME
    problem = file_problem(path)
    if problem is not None:
        raise DataError(
            f"{split_folder}: no {METADATA_NAME} in it{problem.removeprefix('no such file')}: "
            f"write one with the columns {FILE_COLUMN} and {target or 'more'} and a row per clip"
        )
    columns, rows = read_csv(path, FILE_COLUMN)
    names = folded(columns, target)
    require_columns(path, [names.get(name, name) for name in columns], target)
    if not rows:
        raise DataError(f"{path}: it has a header but no clips: add a row per clip")
    return renamed(rows, names)


def read_csv(path: Path, first: str) -> tuple[list[str], list[Row]]:
    """Return the columns and the rows of `numbered_csv`, without the line numbers."""
    columns, rows = numbered_csv(path, first)
    return columns, [row for _, row in rows]


def numbered_csv(path: Path, first: str, kind: str = "CSV") -> tuple[list[str], list[tuple[int, Row]]]:
    """Read a table with one header line and fields separated by commas, semicolons or tabs.

    Columns without a name (such as the index that pandas writes) and blank lines are left out.

    Args:
        path: The file.
        first: A column that the table should have. The delimiter that gives this column is used.
        kind: The expected kind of file, for error messages.

    Returns:
        The names of the columns, which may repeat, and each row with the number of its last line.

    Raises:
        DataError: the file is not CSV in UTF-8, or a row has more fields than the header. The message names
            the line.
    """
    text = read_text(path, kind)
    with _fields_of_any_length():
        try:
            return _parsed(path, text, _delimiter(text, first))
        except csv.Error as error:
            raise DataError(f"{path}: not readable as CSV in UTF-8 with one header line: {error}") from error


def _delimiter(text: str, first: str) -> str:
    """Return the delimiter that gives the header a column `first`, or a comma if none does."""
    for delimiter in _DELIMITERS:
        try:
            names = next((row for row in _reader(text, delimiter) if any(row)), [])
        except csv.Error:  # the fields are quoted, and another delimiter separates them
            continue
        if first.casefold() in (name.strip().casefold() for name in names):
            return delimiter
    return _DELIMITERS[0]


def _reader(text: str, delimiter: str) -> Iterator[list[str]]:
    # Strict, because otherwise a quotation mark that is never closed swallows all later rows.
    lines = io.StringIO(text, newline="")
    return csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)


def _parsed(path: Path, text: str, delimiter: str) -> tuple[list[str], list[tuple[int, Row]]]:
    reader = _reader(text, delimiter)
    header: list[str] | None = None
    rows = []
    try:
        for fields in reader:
            if not any(field.strip() for field in fields):
                continue
            if header is None:
                header = [name.strip() for name in fields]
                continue
            _require_header(path, reader, header, fields, delimiter)
            fields += [""] * (len(header) - len(fields))
            # If a name repeats, the first column counts. `require_columns` refuses a repeated needed column.
            pairs = reversed(list(zip(header, fields, strict=False)))
            rows.append((_line(reader), {name: field for name, field in pairs if not _INDEX.fullmatch(name)}))
    except csv.Error as error:
        raise csv.Error(f"line {_line(reader)}: {error}") from error
    return [name for name in header or () if not _INDEX.fullmatch(name)], rows


def _require_header(
    path: Path, reader: Iterator[list[str]], header: Sequence[str], fields: Sequence[str], delimiter: str
) -> None:
    if any(field.strip() for field in fields[len(header) :]):
        raise DataError(
            f"{path}: line {_line(reader)} has {len(fields)} fields ({shown(delimiter.join(fields))}), the "
            f"header has {len(header)}: put a field that holds {delimiter!r} into quotation marks"
        )


def _line(reader: Iterator[list[str]]) -> int:
    return int(getattr(reader, "line_num", 0))


def folded(columns: Sequence[str], target: str | None) -> dict[str, str]:
    """Return the new name of each column that differs from a wanted name in case only (`File_Name`)."""
    names = {}
    for wanted in (FILE_COLUMN, SPEAKER_COLUMN, *(target_columns(target) if target else ())):
        alike = [name for name in dict.fromkeys(columns) if name.strip().casefold() == wanted.casefold()]
        if wanted not in columns and len(alike) == 1:
            names[alike[0]] = wanted
    return names


def renamed(rows: list[Row], names: Mapping[str, str]) -> list[Row]:
    """Return the rows with some columns renamed."""
    return [{names.get(name, name): value for name, value in row.items()} for row in rows] if names else rows


def require_columns(path: Path, columns: Sequence[str], target: str | None) -> None:
    """Refuse a list that lacks the file names or a column of the target, or has one of them twice.

    Raises:
        DataError: a column is missing or repeats. The message names the columns that were found.
    """
    wanted = (FILE_COLUMN, *(target_columns(target) if target else ()))
    missing = [name for name in wanted if name not in columns]
    if missing:
        alias = next((name for name in columns if name.strip().casefold() in _ALIASES), None)
        hint = f"; rename {alias!r} to {FILE_COLUMN!r}" if alias and FILE_COLUMN in missing else ""
        raise DataError(
            f"{path}: no column {' and no column '.join(map(repr, missing))}: "
            f"found {shown(', '.join(columns)) or 'an empty file'}; "
            f"wanted {','.join(wanted)} (other columns are welcome){hint}"
        )
    counts = Counter(columns)
    twice = next((name for name in (*wanted, SPEAKER_COLUMN) if counts[name] > 1), None)
    if twice is not None:
        raise DataError(f"{path}: {counts[twice]} columns are named {twice!r}: keep one of them")


@contextmanager
def _fields_of_any_length() -> Iterator[None]:
    """Lift the limit of Python's csv module, 128 KiB a field, inside a `with` block."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)
