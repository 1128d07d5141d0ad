"""Where things are to be written: what can be known beforehand, and why something could not be written."""

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
    errno.ENOENT: ("its folder was deleted meanwhile", "Leave it in place, and start again"),
    errno.ELOOP: ("it is a link that leads round in circles", "Give another place"),
    errno.EBUSY: ("it is in use, or a disk is mounted there", "Give a folder inside it"),
    errno.EXDEV: ("a disk is mounted there", "Give a folder inside it"),
}


@contextmanager
def told_as_one_error(path: str | Path, act: str = "written") -> Iterator[None]:
    """Turn what goes wrong with the disk inside into one ArtifactError about `path`.

    Raises:
        ArtifactError: an OSError, or what safetensors or torch make of one, was raised inside.
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
    """Return the number of the system's error behind an exception; None where there is none."""
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
    """Return the path itself if it is there, else the nearest of its parents that is."""
    path = path.absolute()
    return next((each for each in (path, *path.parents) if os.path.lexists(each)), Path(path.anchor))


def real_place(path: str | Path) -> Path:
    """Return where a path leads, through links.

    Raises:
        ArtifactError: it is a link to what is not there.
    """
    given, real = Path(path), Path(os.path.realpath(path))
    if given.is_symlink() and not real.exists():
        raise ArtifactError(
            f"{given} is a link to {os.readlink(given)}, which is not there. Make that, or delete the link."
        )
    return real


def is_taken(path: Path) -> bool:
    """Whether there is something at `path` other than an empty folder (one with our own lock counts so)."""
    if path.is_dir():
        return any(each.name != lock_name(path) for each in path.iterdir())
    return os.path.lexists(path)


def lock_name(path: Path) -> str:
    """Return the name of the file by which a process holds `path`."""
    return f".{path.name}.lock"


def check_place(path: str | Path, as_whole: bool = False) -> None:
    """Refuse a folder or file that could not be made or written to; nothing is written.

    Args:
        path: what is to be written, or written into.
        as_whole: a folder that is there is to be replaced, for which its parent must be writable.

    Raises:
        ArtifactError: its name is too long, it is below a file, a link to nothing, or there is no right.
    """
    with told_as_one_error(path):
        place = real_place(path)
        if any(len(os.fsencode(part)) > LONGEST_NAME_BYTES - NAME_AROUND_BYTES for part in place.parts):
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(place))
        place.exists()  # what the system has against the path as a whole
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


def check_room(path: str | Path, needed_bytes: int, what: str, freed_bytes: int = 0) -> None:
    """Refuse what the disk has no room for.

    Args:
        path: where it is to be written.
        needed_bytes: how much that will be at most at one time.
        what: what takes the room, for the message.
        freed_bytes: how much of what is there now will be deleted before.

    Raises:
        ArtifactError: less is free.
    """
    with told_as_one_error(path):
        usage = shutil.disk_usage(_nearest(Path(os.path.realpath(path))))
    if usage.total and usage.free + freed_bytes < needed_bytes:
        raise ArtifactError(
            f"{_shown(path)}: {what} take about {in_words(needed_bytes)}, and the disk has "
            f"{in_words(usage.free + freed_bytes)} free. Free some space, or give a place on another disk."
        )


def in_words(count: float) -> str:
    """Return a number of bytes in the unit that suits it."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
