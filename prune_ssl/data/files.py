"""Owns what is asked of a file before it is read: that it is one, where it lies, and its text."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from prune_ssl.errors import DataError

MOST_TEXT_BYTES = 1 << 30
"""Larger files are no lists of clips: they are refused before they are read."""

LONGEST_PATH = 4_096
"""Characters of the longest path that a file can have."""

_SHOWN = 120  # characters of what was found that a message repeats

# UTF-32's mark begins with UTF-16's, so it comes first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def file_problem(path: Path) -> str | None:
    """Say in a few words why there is no file to read, or None where there is one.

    Nothing is opened: to open a pipe would wait for ever.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"no such file (a link to {os.readlink(path)})" if path.is_symlink() else "no such file"
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no name that a file can have"
        return f"no such file ({reason})"
    if stat.S_ISREG(mode):
        return None
    kind = "folder" if stat.S_ISDIR(mode) else "pipe, socket or device"
    return f"no such file (a {kind} has this name)"


def is_file(path: Path) -> bool:
    """Whether there is a regular file, also for names that no file can have."""
    return file_problem(path) is None


def is_folder(path: Path) -> bool:
    """Whether there is a folder, also for names that none can have."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def read_text(path: Path, kind: str = "text") -> str:
    """Read a file as UTF-8, or as UTF-16 or UTF-32 where it begins with their mark.

    Args:
        path: The file.
        kind: What it should be, for the message.

    Raises:
        DataError: there is no such file, it is huge or in another encoding; the line is named.
    """
    problem = file_problem(path)
    if problem is not None:
        raise DataError(f"{path}: not readable as {kind}: {problem}")
    try:
        if path.stat().st_size > MOST_TEXT_BYTES:
            raise DataError(f"{path}: {path.stat().st_size / 2**30:.1f} GiB is too large for {kind}")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: not readable ({error.strerror})") from error
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding).lstrip("\ufeff")  # programs that read one mark may write two
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: not readable as {kind} in UTF-8: line {line} holds the byte 0x{data[error.start]:02x}: "
            "save it as UTF-8"
        ) from error
    place = text.find("\0")
    if place >= 0:
        line = text.count("\n", 0, place) + 1
        raise DataError(
            f"{path}: not readable as {kind} in UTF-8: line {line} holds a zero byte: save it as UTF-8 text"
        )
    return text


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers from 1 on.

    Only line ends split: `str.splitlines` also does so at characters that may stand in a transcript.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def shown(text: object, most: int = _SHOWN) -> str:
    """What was found, short enough for one line of a message, without what cannot be printed."""
    words = str(text)
    words = words if len(words) <= most else f"{words[:most]}... ({len(words)} characters)"
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in words)
