"""Checks on a file before it is read, and the reading of text files."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from prune_ssl.errors import DataError

MOST_TEXT_BYTES = 1 << 30
"""A larger file is not a list of clips. It is refused before it is read."""

AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au"})
"""The endings, in lower case, of files that are taken for audio in a folder."""

LONGEST_PATH = 4_096
"""The largest number of characters that a path can have."""

_SHOWN = 120  # a message repeats at most so many characters of a found value

# The byte order mark of UTF-32 begins with that of UTF-16, so UTF-32 comes first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def file_problem(path: Path) -> str | None:
    """Return the reason why there is no regular file at `path`, or None if there is one.

    The file is not opened, because opening a pipe could wait forever.
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
    """Return whether there is a regular file. A name that no file can have gives False, not an error."""
    return file_problem(path) is None


def is_folder(path: Path) -> bool:
    """Return whether there is a folder. A name that no folder can have gives False, not an error."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def read_text(path: Path, kind: str = "text") -> str:
    """Read a file as UTF-8, or as UTF-16 or UTF-32 if it begins with their byte order mark.

    Args:
        path: The file.
        kind: The expected kind of file, for error messages.

    Raises:
        DataError: there is no such file, it is huge, or it has another encoding. The message names the line.
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
        text = data.decode(encoding).lstrip("\ufeff")  # some programs write the mark twice
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
    """Yield each line that is not blank with its number, counted from 1.

    Lines end at line breaks only. `str.splitlines` also splits at characters that a transcript may contain.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def shown(text: object, most: int = _SHOWN) -> str:
    """Return a found value for a message: shortened to `most` characters, unprintable ones escaped."""
    words = str(text)
    words = words if len(words) <= most else f"{words[:most]}... ({len(words)} characters)"
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in words)
