"""The primitive steps of writing and deleting, each a numbered point at which a test may stop the process."""

import ctypes
import errno
import os
import shutil
import signal
import sys
from pathlib import Path

FAULT = "PRUNE_SSL_FAULT"
"""Environment variable of the tests of faults (benchmarks/faults.py); steps are counted from 1 in each
process.

`kill@17` ends the process at once before its 17th step, and cuts a file that is being brought to the disk in
half, as a power cut may. `enospc@17` lets the disk be full from the 17th step on. `trace@FILE` adds a line
for every step to a file.
"""
_NEED_SPACE = ("make", "write", "sync")
_AT_WORKING_FOLDER, _EXCHANGE = -100, 2  # of Linux's renameat2
_CANNOT_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM)

_taken = 0


def _begin_anew() -> None:
    global _taken
    _taken = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def point(kind: str, path: Path) -> None:
    """Count a step, and let it fail where a test asks for that."""
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
    elif mode == "enospc" and _taken >= int(place) and kind in _NEED_SPACE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def make(folder: Path) -> None:
    """Make a folder; its parent is there."""
    point("make", folder)
    folder.mkdir()


def write(path: Path, data: bytes) -> None:
    """Write a file's whole content."""
    point("write", path)
    path.write_bytes(data)


def copy(source: Path, path: Path) -> None:
    """Write a file's whole content as another file has it."""
    point("write", path)
    shutil.copyfile(source, path)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    point("sync", path)
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that do not sync folders
            raise
    finally:
        os.close(number)


def move(old: Path, new: Path) -> None:
    """Rename a file or folder; a file or an empty folder at the new name is replaced."""
    point("move", new)
    os.rename(old, new)


def exchange(one: Path, other: Path) -> bool:
    """Let two things change names in one step; False where system or file system has no such step."""
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
