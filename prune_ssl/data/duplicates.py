"""Find duplicates in a corpus: one file under two names, or the same audio in two files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from prune_ssl.data.audio import Waveform
from prune_ssl.data.clips import Clip
from prune_ssl.data.metadata import Row

_COMPARED = ("label", "text", "speaker", "intent", "scenario", "action")
"""Columns in which two rows of one recording should agree."""

FileKey = tuple[int, int] | Path


def file_key(path: Path) -> FileKey:
    """Return a key that a file has under all its names: absolute, `./`, symbolic links and hard links."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return path
    return found.st_dev, found.st_ino


class _Seen(NamedTuple):
    path: Path
    row: Row


class Duplicates:
    """Remembers each clip by its file and by its audio."""

    def __init__(self) -> None:
        self._files: dict[FileKey, _Seen] = {}
        self._audio: dict[bytes, _Seen] = {}

    def find(self, path: Path, samples: Waveform, row: Row) -> str | None:
        """Return a message that names the earlier clip with the same audio, or None if the clip is new.

        Args:
            path: The file of the clip.
            samples: (N,) at the file's own rate. Samples are compared instead of the bytes of the file, so
                that a copy in another container or with other tags is found too.
            row: The row of the clip in its list.
        """
        new = _Seen(path, row)
        first = self._files.setdefault(file_key(path), new)
        if first is not new:
            return f"the same file as {first.path}{_difference(first.row, row)}"
        digest = hashlib.sha256(np.round(samples * 2**15).astype(np.int32).tobytes()).digest()
        first = self._audio.setdefault(digest, new)
        return None if first is new else f"the same audio as {first.path}{_difference(first.row, row)}"


def _difference(first: Row, second: Row) -> str:
    for name in _COMPARED:
        if name in first and name in second and first[name].strip() != second[name].strip():
            return f", with the {name} {second[name]!r} here and {first[name]!r} there"
    return ""


def shared_files(splits: Mapping[str, Sequence[Clip]]) -> Iterator[str]:
    """Yield a note on files that train shares with another split, and on files with two different targets."""
    keys = {split: [file_key(clip.path) for clip in clips] for split, clips in splits.items()}
    train = set(keys.get("train", ()))
    for split, clips in splits.items():
        targets: dict[FileKey, set[str]] = {}
        for key, clip in zip(keys[split], clips, strict=True):
            targets.setdefault(key, set()).add(clip.target)
        contradictions = sum(len(each) > 1 for each in targets.values())
        if contradictions:
            yield f"{contradictions} files of {split} are listed more than once, with different targets"
        shared = [clip for key, clip in zip(keys[split], clips, strict=True) if key in train]
        if split != "train" and shared:
            yield f"{len(shared)} of {len(clips)} clips of {split} are in train too, such as {shared[0].path}"
