"""The locks of open files and folders, which the kernel releases however their process ends; and guards."""

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
"""Descriptors whose locks are this process's."""
_guarded: dict[Path, tuple[int, int, int | None]] = {}
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


def guard(folder: Path) -> None:
    """From now on refuse to write into a folder once it was deleted, moved or replaced.

    It is held open, so that a folder that is made in its place cannot get its number.
    """
    forget_guard(folder)
    found = folder.stat()
    held = None if sys.platform == "win32" else os.open(folder, os.O_RDONLY)
    _guarded[folder] = (found.st_dev, found.st_ino, held)


def forget_guard(folder: Path) -> None:
    """End what `guard` began."""
    held = _guarded.pop(folder, (0, 0, None))[2]
    if held is not None:
        os.close(held)


def check_guards(target: Path) -> None:
    """Refuse to make again what somebody has deleted under a run.

    Raises:
        ArtifactError: `target` is in such a folder.
    """
    for folder, known in _guarded.items():
        if not target.is_relative_to(folder):
            continue
        found = folder.stat() if folder.exists() else None
        if found is None or (found.st_dev, found.st_ino) != known[:2]:
            raise ArtifactError(
                f"{folder} was deleted, moved or replaced while this run was writing to it; nothing more is "
                "written. Leave the folder in place, and start again."
            )
