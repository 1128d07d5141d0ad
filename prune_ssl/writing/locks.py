"""Locks that the kernel releases when their process ends, however it ends."""

import errno
import os
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prune_ssl.errors import ArtifactError
from prune_ssl.writing import steps
from prune_ssl.writing.places import check_place, lock_name, real_place, told_as_one_error

if sys.platform != "win32":
    import fcntl

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL, errno.EBADF)
_held: set[int] = set()
"""Descriptors whose locks are this process's."""
_guarded: dict[Path, tuple[int, int]] = {}
"""Folders that must stay where they are, with their device and inode."""


def _let_go_in_child() -> None:
    """Close the locks in a forked child: a loader's worker would else hold them after its parent's death."""
    for number in _held:
        with suppress(OSError):
            os.close(number)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)


def try_lock(number: int) -> bool | None:
    """Lock an open file or folder. False: another process has it; None: nothing can be locked here."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        if error.errno in _NO_LOCKS:
            return None
        raise
    _held.add(number)
    return True


def release(number: int) -> None:
    """Give a lock up and close its descriptor."""
    _held.discard(number)
    os.close(number)


class Held:
    """A lock that is held."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def guard(self) -> None:
        """From now on refuse to write into the folder once it was deleted, moved or replaced."""
        found = self._target.stat()
        _guarded[self._target] = (found.st_dev, found.st_ino)


def check_guards(target: Path) -> None:
    """Refuse to make again what somebody has deleted under a run.

    Raises:
        ArtifactError: `target` is in such a folder.
    """
    for folder, known in _guarded.items():
        if not target.is_relative_to(folder):
            continue
        found = folder.stat() if folder.exists() else None
        if found is None or (found.st_dev, found.st_ino) != known:
            raise ArtifactError(
                f"{folder} was deleted, moved or replaced while this run was writing to it; nothing more is "
                "written. Leave the folder in place, and start again."
            )


@contextmanager
def lock(path: str | Path) -> Iterator[Held]:
    """Be the only process that writes to a folder or file; killed processes hold nothing.

    Raises:
        ArtifactError: another process has it (the message names it), or its place cannot be written to.
    """
    check_place(path)
    with told_as_one_error(path):
        target = real_place(path)
        made = _make_parents(target)
        number, file = _take(target, path)
    try:
        yield Held(target)
    finally:
        _guarded.pop(target, None)
        with suppress(OSError):
            steps.unlink(file)
        release(number)
        for folder in made:
            with suppress(OSError):  # something is in it
                folder.rmdir()


def _make_parents(target: Path) -> list[Path]:
    missing = [each for each in target.parents if not each.exists()]
    for folder in reversed(missing):
        with suppress(FileExistsError):
            steps.make(folder)
    return missing


def _take(target: Path, shown: str | Path) -> tuple[int, Path]:
    # A mounted folder has a parent of its own in every container; it cannot be moved either.
    inside = target.is_dir() and (os.path.ismount(target) or not os.access(target.parent, os.W_OK))
    file = (target if inside else target.parent) / lock_name(target)
    while True:
        steps.point("write", file)
        number = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            found = try_lock(number)
            if found is False:
                raise ArtifactError(f"{shown} is in use by {_owner(number)}. Wait for it, or give another.")
            if found is None:
                warnings.warn(
                    f"{file.parent} knows no locks: see to it that no other run writes to {shown}.",
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
        release(number)  # its last owner has deleted it meanwhile


def _owner(number: int) -> str:
    return os.pread(number, 500, 0).decode(errors="replace").strip() or "another process"
