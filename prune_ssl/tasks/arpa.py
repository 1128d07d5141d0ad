"""The check of n-gram models in ARPA text before KenLM reads them.

KenLM allocates the memory that the head of a file states, ends the process at a negative count, and silently
uses one of two entries for the same n-gram.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import BinaryIO, NoReturn

from prune_ssl.data.files import file_problem, shown
from prune_ssl.errors import DataError

MARKS = frozenset({"<s>", "</s>", "<unk>", "<UNK>"})
"""Entries of an n-gram model that are not words."""

_ORDERS = (2, 6)  # the orders for which KenLM is built

_LONGEST_LINE = 1 << 16
_GROWTH, _SMALL = 200, 1 << 26  # gzipped text grows five- to tenfold; a larger growth is an attack
_BLANK_LINES = 10_000  # the most blank lines in a row
_COMPARED_ENTRIES = 2_000_000  # in longer sections only adjacent entries are compared

_COUNT = re.compile(rb"ngram\s+(\d+)\s*=\s*(\d+)")

Opened = BinaryIO | gzip.GzipFile
"""A file of bytes, plain or gzipped."""

Entries = dict[bytes, None]
"""N-grams, in order."""


def read_words(path: Path) -> list[str]:
    """Check an ARPA file from end to end, and return its words: the 1-grams without marks.

    Raises:
        DataError: the file is missing or damaged, it is not ARPA text of 2 to 6 orders, or it has no words.
            The message names the line.
    """
    problem = file_problem(path)
    if problem is not None:
        raise DataError(f"{path}: {problem}: give an n-gram model as ARPA text (.arpa or .arpa.gz)")
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not packed:
                return _Reader(path, file, None).words()
            with gzip.open(file) as unpacked:
                most = max(_SMALL, _GROWTH * path.stat().st_size)
                return _Reader(path, unpacked, most).words()
    except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: not ARPA text in UTF-8 ({error}): instead of a binary file of KenLM give the ARPA file"
        ) from error


class _Reader:
    """Reads and checks the lines of one file from first to last."""

    def __init__(self, path: Path, file: Opened, most_bytes: int | None) -> None:
        self.path, self.number, self.line = path, 0, b""
        self._lines = self._counted(file, most_bytes)

    def words(self) -> list[str]:
        """Read the whole file, and return its words."""
        counts = self._head()
        known = self._section(1, counts[0], {})
        for order, count in enumerate(counts[1:], start=2):
            self._section(order, count, known)
        if self.line != b"\\end\\":
            self._refuse("wanted \\end\\: an entry too many, or the file is cut off")
        if self._next():  # also reads the checksum of a gzipped file
            self._refuse("wanted nothing after \\end\\")
        if {b"<unk>", b"<UNK>"} <= known.keys():
            self._refuse("<unk> and <UNK> are the same word, wanted one of them")
        words = [word.decode("utf-8") for word in known]
        missing = next((mark for mark in ("<s>", "</s>") if mark not in words), None)
        if missing is not None:
            raise DataError(f"{self.path}: broken: no 1-gram {missing}: wanted the marks of begin and end")
        words = [word for word in words if word not in MARKS]
        if not words:
            raise DataError(f"{self.path}: broken: no words under \\1-grams:; wanted a model of words")
        return words

    def _counted(self, file: Opened, most_bytes: int | None) -> Iterator[bytes]:
        """Yield the lines that are not blank, and keep the last one's number and text in the attributes."""
        total = blank = 0
        while line := file.readline(_LONGEST_LINE):
            self.number += 1
            total += len(line)
            if len(line) == _LONGEST_LINE or b"\0" in line:
                self.line = line[:80]
                self._refuse("not ARPA text in UTF-8")
            if most_bytes is not None and total > most_bytes:
                raise DataError(f"{self.path}: broken: it unpacks to more than {most_bytes >> 20} MiB")
            self.line = line.strip()
            blank = 0 if self.line else blank + 1
            if blank > _BLANK_LINES:
                self._refuse(f"{blank} blank lines in a row")
            if self.line:
                yield self.line

    def _next(self) -> bytes:
        self.line = next(self._lines, b"")
        return self.line

    def _head(self) -> list[int]:
        """Read the stated counts by order, up to the first line of the first section."""
        if self._next() != b"\\data\\":
            self._refuse(
                "wanted \\data\\, with which ARPA text begins; no words under \\1-grams: were found; instead "
                "of a binary file of KenLM give the ARPA file"
            )
        counts: list[int] = []
        while match := _COUNT.fullmatch(self._next()):
            if int(match[1]) != len(counts) + 1:
                self._refuse(f"wanted ngram {len(counts) + 1}=COUNT")
            counts.append(int(match[2]))
        low, high = _ORDERS
        if not low <= len(counts) <= high:
            self._refuse(f"{len(counts)} orders are stated, wanted n-grams of {low} to {high} orders")
        return counts

    def _section(self, order: int, count: int, known: Entries) -> Entries:
        """Check the entries of one order, and return those that later lines must be compared with."""
        if self.line != b"\\%d-grams:" % order:
            self._refuse(f"wanted \\{order}-grams:")
        seen: Entries = {}
        found, before, compare = 0, b"", order == 1 or count <= _COMPARED_ENTRIES
        while not (self._next().startswith(b"\\") or not self.line):
            if found == count:
                break
            entry = self._entry(order, known)
            if entry == before or entry in seen:
                self._refuse("this entry appears twice")
            before = entry
            if compare:
                seen[entry] = None
            found += 1
        if found < count:
            self._refuse(f"{count} {order}-grams are stated, {found} were found")
        return seen

    def _entry(self, order: int, known: Entries) -> bytes:
        """Check one line, and return its words."""
        score, *words = self.line.split()
        weight = words.pop() if len(words) == order + 1 else None
        if len(words) != order or (weight is not None and not _is_number(weight)):
            self._refuse(f"wanted a number, {order} words, and an optional number as back-off weight")
        if not _is_number(score) or float(score) > 0:
            self._refuse("wanted log10 of a probability, a number of 0 or less")
        if order > 1:
            new = next((word for word in words if word not in known), None)
            if new is not None:
                self._refuse(f"{shown(new.decode('utf-8', 'replace'))} is not a 1-gram")
        return b" ".join(words)

    def _refuse(self, words: str) -> NoReturn:
        found = shown(self.line.decode("utf-8", "replace")) or "the end of the file"
        where = f"line {self.number}: found {found!r}: {words}"
        raise DataError(f"{self.path}: broken: KenLM does not read it as ARPA ({where})")


def _is_number(text: bytes) -> bool:
    try:
        return isfinite(float(text)) and b"_" not in text
    except ValueError:
        return False
