"""Owns lists with one JSON object per line: metadata.jsonl, NeMo's manifests."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prune_ssl.data.files import numbered_lines, read_text, shown
from prune_ssl.data.metadata import FILE_COLUMN, SPEAKER_COLUMN, Row, folded, renamed, target_columns
from prune_ssl.errors import DataError

JSONL_NAME = "metadata.jsonl"
NEMO_COLUMN = "audio_filepath"

_SEGMENT_SLACK_SECONDS, _SEGMENT_SLACK_SHARE = 0.1, 0.05  # stated lengths are rounded, codecs pad


def read_jsonl(path: Path, target: str | None) -> list[Row]:
    """Read one JSON object per line; `audio_filepath` (NeMo) may stand for `file_name`.

    Numbers stay as they are written: 1.50 is the label "1.50".

    Raises:
        DataError: a line is not a JSON object, gives a column that is needed twice or as a list or object, or
            is a NeMo entry that begins within its recording.
    """
    needed = {FILE_COLUMN, NEMO_COLUMN, SPEAKER_COLUMN, *(target_columns(target) if target else ())}
    rows = []
    for number, entry in json_objects(path):
        row = {}
        for name, value in entry.items():
            if isinstance(value, (dict, list)) and name.casefold() in needed:
                raise DataError(
                    f"{path}: line {number}: its {name} is {shown(value)}, wanted text or a number"
                )
            row[name] = "" if value is None else str(value)
        if NEMO_COLUMN in row:
            row.setdefault(FILE_COLUMN, row[NEMO_COLUMN])
            if _seconds(row, "offset"):
                raise DataError(
                    f"{path}: line {number} begins at {row['offset']} s of {row[NEMO_COLUMN]}: a recording "
                    "cut into segments: write one file per utterance"
                )
        rows.append(row)
    return renamed(rows, folded(columns_of(rows), target))


def columns_of(rows: list[Row]) -> list[str]:
    """The columns that any row has, in order."""
    return list(dict.fromkeys(name for row in rows for name in row))


def json_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a file, one per line, with the number of each line; numbers as text.

    Raises:
        DataError: a line is something else.
    """
    for number, line in numbered_lines(read_text(path)):
        try:
            entry = _TEXTS.decode(line.strip())
            if not isinstance(entry, dict):
                raise ValueError(f"a {type(entry).__name__}")
            if "\\u" in line:
                json.dumps(entry, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}: line {number} is not a JSON object: {_words(error)} ({shown(line)})"
            ) from error
        yield number, entry


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{shown(twice)!r} is in it twice")
    return found


_TEXTS = json.JSONDecoder(
    parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=_object
)  # numbers stay as they are written


def _words(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "it holds half of a character (a lone surrogate)"
    return "too deeply nested" if isinstance(error, RecursionError) else str(error)


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
