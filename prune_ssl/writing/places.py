"""Check a place before writing to it, and explain errors of the disk in one message."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from prune_ssl.errors import ArtifactError

LONGEST_NAME_BYTES = 255
NAME_AROUND_BYTES = 18  # `.NAME.partial-01234567`
LITTLE_BYTES = 2**20

_ADVICE = {
    errno.ENOSPC: ("the disk is full", "Free some space, or give another place"),
    errno.EDQUOT: ("the quota of the disk is used up", "Free some space, or give another place"),
    errno.EFBIG: ("the file would be larger than this system allows", "Give another place"),
    errno.EROFS: ("the file system is read-only", "Give another place"),
    errno.EACCES: ("you have no right to write there", "Give another place, or change the rights"),
    errno.EPERM: ("you have no right to write there", "Give another place, or change the rights"),
    errno.ENOTDIR: ("a part of the path is a file, wanted a folder", "Give another place"),
    errno.EISDIR: ("it is a folder, wanted a file", "Give another place"),
    errno.EEXIST: ("something else has that name already", "Give another place"),
    errno.ENOTEMPTY: ("another process wrote something there meanwhile", "Give another place"),
    errno.ENAMETOOLONG: ("the name is too long", "Give a shorter one"),
    errno.ENOENT: ("its folder was deleted meanwhile", "Leave the folder in place, and start again"),
    errno.ELOOP: ("it is a link that leads round in circles", "Give another place"),
    errno.EBUSY: ("it is in use, or a disk is mounted there", "Give a folder inside it"),
    errno.EXDEV: ("a disk is mounted there", "Give a folder inside it"),
}


@contextmanager
def as_artifact_error(path: str | Path, act: str = "written") -> Iterator[None]:
    """Turn an error of the disk inside a `with` block into one ArtifactError about `path`.

    Raises:
        ArtifactError: the block raised an OSError, or an error of safetensors or torch caused by one.

    >>> with as_artifact_error("out/model"):
    ...     raise OSError(errno.ENOSPC, "No space left on device")
    Traceback (most recent call last):
    prune_ssl.errors.ArtifactError: out/model cannot be written: the disk is full. Free some space, or ...
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        number = _number_of(error, Path(path))
        if number is None:
            raise
        reason, advice = _ADVICE.get(number, (os.strerror(number).lower(), "Give another place"))
        named = getattr(error, "filename", None)
        beside = f" ({named})" if named and number in (errno.ENOTDIR, errno.EACCES, errno.EPERM) else ""
        raise ArtifactError(f"{_shown(path)} cannot be {act}: {reason}{beside}. {advice}.") from error


def _number_of(error: Exception, path: Path) -> int | None:
    """Return the number of the system error that caused an exception, or None if there is none."""
    if isinstance(error, OSError):
        return error.errno or errno.EIO
    text = str(error)
    if (found := re.search(r"os error (\d+)", text)) is not None:  # safetensors
        return int(found[1])
    if "PytorchStreamWriter" in text or "inline_container" in text or "Parent directory" in text:
        parent = _nearest(path)
        return errno.ENOSPC if shutil.disk_usage(parent).free < LITTLE_BYTES else errno.EIO
    return None


def _shown(path: str | Path) -> str:
    text = str(path)
    return text if len(text) <= 200 else f"{text[:80]}...{text[-20:]}"


def _nearest(path: Path) -> Path:
    """Return the path itself if it exists, else its nearest existing parent."""
    path = path.absolute()
    return next((each for each in (path, *path.parents) if os.path.lexists(each)), Path(path.anchor))


def real_place(path: str | Path) -> Path:
    """Return the real path, with all links followed.

    Raises:
        ArtifactError: the path is a link to a missing target.
    """
    given, real = Path(path), Path(os.path.realpath(path))
    if given.is_symlink() and not real.exists():
        raise ArtifactError(
            f"{given} is a link to {os.readlink(given)}, which does not exist. Create it, or delete the link."
        )
    return real


def is_taken(path: Path) -> bool:
    """Return whether `path` exists and is not an empty folder. A folder with only a lock counts as empty."""
    if path.is_dir():
        return any(each.name != lock_name(path) for each in path.iterdir())
    return os.path.lexists(path)


def lock_name(path: Path) -> str:
    """Return the name of the lock file of `path`.

    >>> lock_name(Path("runs/small"))
    '.small.lock'
    """
    return f".{path.name}.lock"


def check_place(path: str | Path, as_whole: bool = False) -> None:
    """Refuse a folder or file that cannot be made or written to. Nothing is written.

    Args:
        path: The file or folder to write.
        as_whole: Whether an existing folder will be replaced. Its parent must be writable then.

    Raises:
        ArtifactError: the name is too long, a parent is a file, a link has no target, or the user has no
            right to write there.
    """
    with as_artifact_error(path):
        place = real_place(path)
        if any(len(os.fsencode(part)) > LONGEST_NAME_BYTES - NAME_AROUND_BYTES for part in place.parts):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(place))
        place.exists()  # raises the errors that the system has for the path as a whole
        found = _nearest(place)
        if found != place and not found.is_dir():
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(found))
        if as_whole and found == place:
            if os.path.ismount(place):
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(place))
            found = place.parent
        _check_rights(found)


def _check_rights(path: Path) -> None:
    if os.access(path, os.W_OK | (os.X_OK if path.is_dir() else 0)):
        return
    read_only = os.statvfs(path).f_flag & os.ST_RDONLY
    number = errno.EROFS if read_only else errno.EACCES
    raise OSError(number, os.strerror(number), str(path))


def check_room(path: str | Path, needed_bytes: int, content: str, freed_bytes: int = 0) -> None:
    """Refuse to write more than the disk has space for.

    Args:
        path: The file or folder to write.
        needed_bytes: The largest size that it has at any time.
        content: The name of the content, for the message.
        freed_bytes: The size of existing files that will be deleted before.

    Raises:
        ArtifactError: the disk has less free space.
    """
    with as_artifact_error(path):
        usage = shutil.disk_usage(_nearest(Path(os.path.realpath(path))))
    if usage.total and usage.free + freed_bytes < needed_bytes:
        raise ArtifactError(
            f"{_shown(path)}: {content} take about {in_words(needed_bytes)}, and the disk has "
            f"{in_words(usage.free + freed_bytes)} free. Free some space, or give a place on another disk."
        )


def in_words(count: float) -> str:
    """Return a number of bytes in a suitable unit.

    >>> in_words(1_234_567)
    '1.23 MB'
    """
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
