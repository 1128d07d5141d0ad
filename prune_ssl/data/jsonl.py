"""Lists of clips with one JSON object per line: metadata.jsonl and NeMo's manifests."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from prune_ssl.data.files import numbered_lines, read_text, shown
from prune_ssl.data.metadata import FILE_COLUMN, SPEAKER_COLUMN, Row, folded, renamed, target_columns
from prune_ssl.errors import DataError

JSONL_NAME = "metadata.jsonl"
NEMO_COLUMN = "audio_filepath"

# A stated duration may be shorter than the file by so much: durations are rounded, and codecs pad.
_SEGMENT_SLACK_SECONDS, _SEGMENT_SLACK_SHARE = 0.1, 0.05


def read_jsonl(path: Path, target: str | None) -> list[Row]:
    """Read one row per line from JSON objects. The key `audio_filepath` (NeMo) may replace `file_name`.

    Numbers stay as they are written: 1.50 gives the label "1.50".

    Raises:
        DataError: a line is not a JSON object, gives a needed column twice or as a list or an object, or is a
            NeMo entry that starts inside its recording.
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
                    f"{path}: line {number} begins at {row['offset']} s of {row[NEMO_COLUMN]}: recordings "
                    "cut into segments cannot be read: write one file per utterance"
                )
        rows.append(row)
    return renamed(rows, folded(columns_of(rows), target))


def columns_of(rows: list[Row]) -> list[str]:
    """Return the columns of all rows, in the order of their first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def json_objects(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the number and the JSON object of each line of a file. Numbers in objects become text.

    Raises:
        DataError: a line is not a JSON object.
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


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
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
    """Return a message if a NeMo entry covers only a part of its recording of `seconds`, else None."""
    stated = _seconds(row, "duration") if NEMO_COLUMN in row else None
    if stated is None or seconds - stated <= max(_SEGMENT_SLACK_SECONDS, _SEGMENT_SLACK_SHARE * seconds):
        return None
    return (
        f"the list states {stated:g} s, the file has {seconds:g} s: if the clip is a segment of a longer "
        "recording, write one file per utterance, else correct its duration"
    )


def _seconds(row: Mapping[str, str], column: str) -> float | None:
    """Return the number in a column, or None if it holds no number."""
    try:
        return float(row[column])
    except (KeyError, ValueError):
        return None
