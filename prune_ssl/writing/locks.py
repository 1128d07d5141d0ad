"""Locks of open files and folders, which the kernel releases when their process ends; guards of folders."""

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path

from prune_ssl.errors import ArtifactError

if sys.platform != "win32":
    import fcntl

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL, errno.EBADF)
_held: set[int] = set()
"""Descriptors of the locks that this process holds."""
_guarded: dict[Path, tuple[int, int, int | None]] = {}
"""Guarded folders with their device, inode and open descriptor."""


def _release_in_child() -> None:
    """Close the locks in a forked child. Else a loader's worker would hold them after its parent's end."""
    for number in _held:
        with suppress(OSError):
            os.close(number)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)


def try_lock(number: int) -> bool | None:
    """Lock an open file or folder.

    Returns:
        True if it is locked now, False if another process holds the lock, None if the system has no locks.
    """
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
    """Release a lock and close its descriptor."""
    _held.discard(number)
    os.close(number)


def guard(folder: Path) -> None:
    """Refuse all later writing into a folder if somebody deletes, moves or replaces it.

    The folder is held open, so that a new folder in its place cannot get the same inode.
    """
    forget_guard(folder)
    found = folder.stat()
    held = None if sys.platform == "win32" else os.open(folder, os.O_RDONLY)
    _guarded[folder] = (found.st_dev, found.st_ino, held)


def forget_guard(folder: Path) -> None:
    """Stop guarding a folder."""
    held = _guarded.pop(folder, (0, 0, None))[2]
    if held is not None:
        os.close(held)


def check_guards(target: Path) -> None:
    """Refuse to write into a guarded folder that somebody has deleted, moved or replaced.

    Raises:
        ArtifactError: `target` is in such a folder.
    """
    for folder, known in _guarded.items():
        if not target.is_relative_to(folder):
            continue
        found = folder.stat() if folder.exists() else None
        if found is None or (found.st_dev, found.st_ino) != known[:2]:
            raise ArtifactError(
                f"{folder} was deleted, moved or replaced while this run was writing to it, so nothing more "
                "is written. Leave the folder in place, and start again."
            )
