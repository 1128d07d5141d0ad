"""The primitive steps of writing and deleting. Each is a numbered point where a test can stop the process."""

import ctypes
import errno
import os
import shutil
import signal
import sys
from pathlib import Path

FAULT = "PRUNE_SSL_FAULT"
"""The environment variable for tests of faults (benchmarks/faults.py). Each process counts its steps from 1.

`kill@17` ends the process before its 17th step, and truncates a file that is being synced to half its size,
as a power cut may do. `term@17` sends SIGTERM to the process before the step, as batch systems do.
`enospc@17` makes the disk full from the 17th step on, and `erofs@17` makes it read-only. `trace@FILE` adds a
line for every step to a file.
"""
_NEED_SPACE = ("make", "write", "sync")
_CHANGE = ("make", "write", "move", "exchange", "unlink", "drop")
_REFUSED = {"enospc": (errno.ENOSPC, _NEED_SPACE), "erofs": (errno.EROFS, _CHANGE)}
"""The error that a fault raises from its step on, and the kinds of steps that raise it."""
_AT_WORKING_FOLDER, _EXCHANGE = -100, 2  # of Linux's renameat2
_CANNOT_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM)

_taken = 0
"""The number of steps that this process has taken."""


def _count_from_zero() -> None:
    global _taken
    _taken = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_from_zero)


def point(kind: str, path: Path) -> None:
    """Count a step, and let it fail if a test asks for that."""
    global _taken
    _taken += 1
    mode, _, place = os.environ.get(FAULT, "").partition("@")
    if not mode:
        return
    if mode == "trace":
        with open(place, "a", encoding="utf-8") as trace:
            trace.write(f"{_taken} {kind} {path}\n")
    elif mode == "kill" and _taken == int(place):
        if kind == "sync" and path.is_file():
            os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    elif mode == "term" and _taken == int(place):
        os.kill(os.getpid(), signal.SIGTERM)
    elif mode in _REFUSED and _taken >= int(place):
        number, kinds = _REFUSED[mode]
        if kind in kinds:
            raise OSError(number, os.strerror(number), str(path))


def make(folder: Path) -> None:
    """Make a folder whose parent exists."""
    point("make", folder)
    folder.mkdir()


def write(path: Path, data: bytes) -> None:
    """Write a file's whole content."""
    point("write", path)
    path.write_bytes(data)


def copy(source: Path, path: Path) -> None:
    """Copy a file's whole content."""
    point("write", path)
    shutil.copyfile(source, path)


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    point("sync", path)
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems cannot sync folders
            raise
    finally:
        os.close(number)


def move(old: Path, new: Path) -> None:
    """Rename a file or folder. A file or an empty folder at the new name is replaced."""
    point("move", new)
    os.rename(old, new)


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two files or folders in one step. Return False if the system cannot do that."""
    library = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    rename = getattr(library, "renameat2", None)
    if rename is None:
        return False
    point("exchange", other)
    names = [_AT_WORKING_FOLDER, os.fsencode(one), _AT_WORKING_FOLDER, os.fsencode(other)]
    if rename(*names, _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(other))


def unlink(path: Path) -> None:
    """Delete a file or a link."""
    point("unlink", path)
    path.unlink()


def drop(folder: Path) -> None:
    """Delete an empty folder."""
    point("drop", folder)
    folder.rmdir()
