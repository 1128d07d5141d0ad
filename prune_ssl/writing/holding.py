"""Lock a folder or file, so that only one process writes to it."""

import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prune_ssl.errors import ArtifactError
from prune_ssl.writing import steps
from prune_ssl.writing.atomic import clear_leftovers
from prune_ssl.writing.locks import forget_guard, guard, release, try_lock
from prune_ssl.writing.places import as_artifact_error, check_place, lock_name, real_place


class InUseError(ArtifactError):
    """Another process holds the lock of a folder or file."""


class Held:
    """A lock that this process holds."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def guard(self) -> None:
        """Refuse all later writing into the folder if somebody deletes, moves or replaces it."""
        guard(self._target)


@contextmanager
def lock(path: str | Path) -> Iterator[Held]:
    """Lock a folder or file for the duration of a `with` block. The lock of a killed process is released.

    Raises:
        InUseError: another process holds the lock. The message names it.
        ArtifactError: the place is not writable.

    >>> with lock("out"):
    ...     pass
    """
    check_place(path)
    with as_artifact_error(path):
        target = real_place(path)
        made = _make_parents(target)
        number, file = _take(target, path)
    try:
        clear_leftovers(target)
        yield Held(target)
    finally:
        forget_guard(target)
        with suppress(OSError):
            steps.unlink(file)
        release(number)
        for folder in made:
            with suppress(OSError):  # the folder is not empty
                folder.rmdir()


def _make_parents(target: Path) -> list[Path]:
    missing = [each for each in target.parents if not each.exists()]
    for folder in reversed(missing):
        with suppress(FileExistsError):
            steps.make(folder)
    return missing


def _take(target: Path, shown: str | Path) -> tuple[int, Path]:
    # A mounted folder keeps its lock inside: its parent differs in every container, and it cannot be moved.
    inside = target.is_dir() and (os.path.ismount(target) or not os.access(target.parent, os.W_OK))
    file = (target if inside else target.parent) / lock_name(target)
    while True:
        steps.point("write", file)
        number = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            found = try_lock(number)
            if found is False:
                raise InUseError(f"{shown} is in use by {_owner(number)}. Wait for it, or give another.")
            if found is None:
                warnings.warn(
                    f"{file.parent} does not support locks: make sure that no other run writes to {shown}.",
                    stacklevel=2,
                )
            if file.exists() and os.path.samestat(os.fstat(number), file.stat()):
                words = f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')}\n"
                os.truncate(number, 0)
                os.write(number, words.encode())
                return number, file
        except BaseException:
            release(number)
            raise
        release(number)  # the last owner of the lock file has deleted it meanwhile


def _owner(number: int) -> str:
    return os.pread(number, 500, 0).decode(errors="replace").strip() or "another process"
