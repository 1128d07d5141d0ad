"""Owns the cache of a teacher's answers: tensors by key, in memory or in a folder, up to a limit."""

import warnings
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from prune_ssl.errors import ArtifactError, DistillationError
from prune_ssl.writing import check_place, clear_below, write_bytes

MEMORY = "memory"

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
        """Check that the folder can be made; the first entry makes it.

        Raises:
            DistillationError: it cannot be made or written to.
        """
        self.path = path
        try:
            check_place(path / "00")
        except ArtifactError as error:
            raise DistillationError(f"teacher_cache: {error} Or give 'memory'.") from error

    def size(self) -> int:
        """Return the bytes that are kept now, and delete leftovers of killed processes."""
        clear_below(self.path)
        total = 0
        for file in self.path.rglob("*.safetensors"):
            with suppress(OSError):  # another process has moved or cleared it
                total += file.stat().st_size
        return total

    def get(self, key: str) -> Tensors | None:
        """Return an entry, or None where there is no whole one."""
        try:
            return load(self._file(key).read_bytes())
        except (OSError, SafetensorError):  # missing, damaged or not readable: the teacher runs
            return None

    def put(self, key: str, tensors: Tensors, room: int) -> int | None:
        """Keep an entry and return its bytes; None if it takes more than `room` or cannot be written."""
        data = save(tensors)
        if len(data) > room:
            return None
        try:
            write_bytes(self._file(key), data)
        except ArtifactError:
            return None
        return len(data)

    def _file(self, key: str) -> Path:
        return self.path / key[:2] / f"{key}.safetensors"


class AnswerCache:
    """A store with a limit.

    A full cache keeps its entries and refuses new ones. Training goes through the same clips again and again:
    if new entries replaced old ones, each would be gone before it is needed again.

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
            f"teacher_cache: {self._limit / 1e9:g} GB, or the disk, are full (or it cannot be written any "
            "more). The teacher is asked each time for the clips that are not kept; raise teacher_cache_gb "
            "to keep more.",
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
