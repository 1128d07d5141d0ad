"""Owns the cache of a teacher's answers: tensors by key, in memory or in a folder, up to a limit."""

import errno
import os
import tempfile
import time
import warnings
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from prune_ssl.errors import DistillationError

MEMORY = "memory"
PARTIAL = ".partial-"
ABANDONED_SECONDS = 3600
"""A file that was being written so long ago is what a killed process left."""

Tensors = dict[str, torch.Tensor]


class Store(Protocol):
    """Where a cache keeps its entries."""

    def size(self) -> int:
        """Return the bytes that are kept now."""

    def get(self, key: str) -> Tensors | None:
        """Return an entry, or None where there is no whole one."""

    def put(self, key: str, tensors: Tensors, room: int) -> int | None:
        """Keep an entry and return its bytes, or None where it takes more than `room`."""


class Memory:
    """Entries of this process, gone with it."""

    def __init__(self) -> None:
        self._entries: dict[str, Tensors] = {}

    def size(self) -> int:
        """Return the bytes that are kept now."""
        return sum(map(_bytes, self._entries.values()))

    def get(self, key: str) -> Tensors | None:
        """Return an entry, or None."""
        return self._entries.get(key)

    def put(self, key: str, tensors: Tensors, room: int) -> int | None:
        """Keep an entry and return its bytes, or None where it takes more than `room`."""
        taken = _bytes(tensors)
        if taken > room:
            return None
        self._entries[key] = tensors
        return taken


class Folder:
    """Entries as safetensors files, for several processes and runs.

    A file appears under its name when it is whole and on the disk: a process that is killed, or a machine
    that goes down, leaves no half answer, and processes that write the same entry do no harm.
    """

    def __init__(self, path: Path) -> None:
        """Check that the folder can be made; that is done when there is something to keep.

        Raises:
            DistillationError: it cannot be made or written to.
        """
        self.path = path
        found = next((each for each in (path, *path.absolute().parents) if each.exists()), path)
        if not found.is_dir() or not os.access(found, os.W_OK):
            raise DistillationError(
                f"teacher_cache: {found} is no folder that can be written to; give another one, or 'memory'."
            )

    def size(self) -> int:
        """Return the bytes that are kept now, and clear away what killed processes left."""
        total = 0
        for file in self.path.rglob("*.safetensors"):
            try:
                found = file.stat()
                if file.name.startswith(PARTIAL) and time.time() - found.st_mtime > ABANDONED_SECONDS:
                    file.unlink()
                else:
                    total += found.st_size
            except FileNotFoundError:  # another process has moved or cleared it
                continue
        return total

    def get(self, key: str) -> Tensors | None:
        """Return an entry, or None where there is no whole one."""
        try:
            return load(self._file(key).read_bytes())
        except (FileNotFoundError, SafetensorError):
            return None

    def put(self, key: str, tensors: Tensors, room: int) -> int | None:
        """Keep an entry and return its bytes, or None where it takes more than `room` or the disk is full."""
        data, file = save(tensors), self._file(key)
        if len(data) > room:
            return None
        file.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: processes on several machines may write the same entry.
        handle, scratch = tempfile.mkstemp(prefix=PARTIAL, suffix=file.suffix, dir=file.parent)
        try:
            with os.fdopen(handle, "wb") as written:
                written.write(data)
                written.flush()
                os.fsync(handle)
            os.replace(scratch, file)
        except OSError as error:
            Path(scratch).unlink(missing_ok=True)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                return None
            raise
        return len(data)

    def _file(self, key: str) -> Path:
        return self.path / key[:2] / f"{key}.safetensors"


class AnswerCache:
    """A store with a limit.

    When it is full, what comes is not kept. Were old entries given up for it, as training goes round and
    round through the same clips, none would be there any more when it is asked for again.

    Attributes:
        full: an entry found no room.
    """

    def __init__(self, store: Store, limit_bytes: int) -> None:
        self._store, self._limit = store, limit_bytes
        self._room: int | None = None
        self.full = False

    def get(self, key: str) -> Tensors | None:
        """Return the entry of a key, or None."""
        return self._store.get(key)

    def put(self, key: str, tensors: Tensors) -> None:
        """Keep an entry, while there is room."""
        if self.full:
            return
        if self._room is None:
            # Several processes fill a folder at the same time, each its share.
            self._room = (self._limit - self._store.size()) // _processes(self._store)
        taken = self._store.put(key, tensors, self._room)
        if taken is not None:
            self._room -= taken
            return
        self.full = True
        warnings.warn(
            f"teacher_cache: {self._limit / 1e9:g} GB, or the disk, are full. The teacher is asked each time "
            "for the clips that are not kept; raise teacher_cache_gb to keep more.",
            stacklevel=2,
        )


def open_cache(place: str | Path, limit_gb: float) -> AnswerCache:
    """Return the cache of a place: a folder, or `memory`.

    Raises:
        DistillationError: the folder cannot be made or written to.
    """
    store: Store = Memory() if place == MEMORY else Folder(Path(place))
    return AnswerCache(store, round(limit_gb * 1e9))


def _bytes(tensors: Tensors) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def _processes(store: Store) -> int:
    if isinstance(store, Memory) or not torch.distributed.is_initialized():
        return 1
    return torch.distributed.get_world_size()
