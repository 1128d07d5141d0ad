"""Files and folders that appear whole or not at all, and go as a whole."""

import errno
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prune_ssl.errors import ArtifactError
from prune_ssl.writing import steps
from prune_ssl.writing.locks import check_guards, release, try_lock
from prune_ssl.writing.places import check_place, is_taken, real_place, told_as_one_error

PARTIAL, OLD, GONE = "partial", "old", "gone"
"""What is being made; what gives way to a new folder, where two cannot change names; what is deleted."""
ABANDONED_SECONDS = 24 * 3600
"""Where nothing can be locked, what was untouched for so long is what a killed process left."""
_LEFTOVER = re.compile(rf"\.(?P<name>.+)\.(?P<kind>{PARTIAL}|{OLD}|{GONE})-[0-9a-f]{{8}}", re.DOTALL)


def write_text(path: str | Path, text: str) -> Path:
    """Write a UTF-8 file that appears whole or not at all; a file that is there is replaced.

    Raises:
        ArtifactError: it cannot be written.
    """
    return write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write a file that appears whole or not at all; a file that is there is replaced.

    Raises:
        ArtifactError: it cannot be written.
    """
    with new_file(path) as new:
        steps.write(new, data)
    return Path(path)


def copy_file(source: str | Path, path: str | Path) -> Path:
    """Copy a file, whole or not at all; a file that is there is replaced, links are followed.

    Raises:
        ArtifactError: it cannot be written.
    """
    with new_file(path) as new:
        steps.copy(Path(source), new)
    return Path(path)


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write a file to; it becomes `path` at the end, if nothing was raised.

    Missing folders are made. What goes wrong with the disk inside is told as one error.

    Raises:
        ArtifactError: it cannot be written.
    """
    check_place(path)
    with told_as_one_error(path):
        target = real_place(path)
        if target.exists() and not target.is_file():
            raise ArtifactError(f"{path} is there and no plain file. Give another file.")
        make_folder(target.parent)
        clear_leftovers(target)
        with _scratch(target) as folder:
            new = folder / target.name
            yield new
            if target.exists():
                shutil.copymode(target, new)
            steps.sync(new)
            steps.move(new, target)
            steps.sync(target.parent)


@contextmanager
def new_folder(path: str | Path, replace: bool = False) -> Iterator[Path]:
    """Give a temporary folder to write to; it becomes `path` at the end, if nothing was raised.

    With `replace` the folder that is there goes once the new one stands: the two change names in one step,
    so that there is a whole one at every moment. Where the system has no such step (other systems than Linux,
    some network file systems) the old one is renamed first; a process that is killed right then leaves it
    under the other name, from which the next one to write or load it puts it back (`put_back`).

    Raises:
        ArtifactError: it cannot be written, or is there (without `replace`).
    """
    check_place(path, as_whole=True)
    with told_as_one_error(path):
        target = real_place(path)
        make_folder(target.parent)
        clear_leftovers(target)
        if target.exists() and not target.is_dir():
            raise ArtifactError(f"{path} is a file, wanted a folder.")
        if is_taken(target) and not replace:
            raise ArtifactError(f"{path} exists already; nothing was written. Give another folder.")
        with _scratch(target) as folder:
            new = folder / target.name
            steps.make(new)
            yield new
            _sync_tree(new)
            _put(new, target)
            steps.sync(target.parent)


def make_folder(path: str | Path) -> Path:
    """Make a folder and what is missing of its parents; one that is there is left.

    Raises:
        ArtifactError: it cannot be made, or was deleted under this run.
    """
    folder = Path(path)
    with told_as_one_error(path, "made"):
        check_guards(Path(os.path.realpath(folder)))
        for each in reversed([each for each in (folder, *folder.parents) if not each.is_dir()]):
            try:
                steps.make(each)
            except FileExistsError:
                if not each.is_dir():  # else another process was faster
                    raise
    return folder


def remove(path: str | Path) -> None:
    """Delete a file, a link, or a folder with all that is in it; what is not there is no error.

    A folder is renamed first, so that a half deleted one is never taken for the whole.

    Raises:
        ArtifactError: it cannot be deleted.
    """
    target = Path(path)
    with told_as_one_error(path, "deleted"):
        if target.is_dir() and not target.is_symlink():
            gone = _beside(target, GONE)
            steps.move(target, gone)
            _delete(gone)
        elif os.path.lexists(target):
            with suppress(FileNotFoundError):
                steps.unlink(target)


def clear_leftovers(path: str | Path) -> None:
    """Remove what killed processes left while they wrote or deleted `path`, and put back what they took away.

    What a living process is writing is left.
    """
    target = Path(os.path.realpath(path))
    for left, kind, name in _leftovers(target.parent):
        if name == target.name:
            _clear(left, kind, target)


def clear_below(folder: str | Path, deep: bool = True) -> None:
    """Do as `clear_leftovers` for everything in a folder, and in the folders in it."""
    top = Path(os.path.realpath(folder))
    for left, kind, name in _leftovers(top) if top.is_dir() else ():
        _clear(left, kind, left.with_name(name))
    for each in sorted(top.iterdir()) if deep and top.is_dir() else ():
        if each.is_dir() and not each.is_symlink() and not _LEFTOVER.fullmatch(each.name):
            clear_below(each)


def put_back(path: str | Path) -> None:
    """Put a folder back whose replacement was cut short, where two cannot change names in one step."""
    target = Path(os.path.realpath(path))
    for left, kind, name in _leftovers(target.parent):
        if kind == OLD and name == target.name and not target.exists():
            _clear(left, kind, target)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give a folder for what another library reads from files; it is gone afterwards.

    Raises:
        ArtifactError: there is no place for temporary files, or it is full.
    """
    what = "the folder for temporary files (TMPDIR)"
    with told_as_one_error(what):
        made = tempfile.TemporaryDirectory()
    with made as name:
        try:
            yield Path(name)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise  # it may be about what is read
            with told_as_one_error(what):
                raise


def _beside(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{kind}-{secrets.token_hex(4)}")


def _leftovers(folder: Path) -> list[tuple[Path, str, str]]:
    """Return the leftovers in a folder: each with its kind and the name of what it was to be."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    found = [(name, _LEFTOVER.fullmatch(name)) for name in names]
    return [(folder / name, match["kind"], match["name"]) for name, match in found if match]


def _clear(left: Path, kind: str, target: Path) -> None:
    """Delete a leftover that no living process holds, or put it back."""
    with suppress(OSError):  # it stays for the next time
        number = os.open(left, os.O_RDONLY)
        try:
            free = try_lock(number)
            if free is None:
                free = time.time() - left.stat().st_mtime > ABANDONED_SECONDS
            if free and kind == OLD and not target.exists():
                steps.move(left, target)
            elif free:
                _delete(left)
        finally:
            release(number)


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """Give a folder beside `target` that nobody clears away while this process lives."""
    number, folder = None, target
    while number is None:
        folder = _beside(target, PARTIAL)
        steps.make(folder)
        with suppress(FileNotFoundError):  # another process has just cleared it away
            number = os.open(folder, os.O_RDONLY)
            if try_lock(number) is False or not folder.exists():
                release(number)
                number = None
    try:
        yield folder
    finally:
        with suppress(OSError):  # it stays for the next time
            _delete(folder)
        release(number)


def _put(new: Path, target: Path) -> None:
    """Move a new folder to its place; what was there ends up in the new one's, or is gone."""
    if not is_taken(target):
        steps.move(new, target)
        return
    if steps.exchange(new, target):
        return
    number = os.open(target, os.O_RDONLY)
    try:
        try_lock(number)  # nobody puts it back while this process lives
        old = _beside(target, OLD)
        steps.move(target, old)
        try:
            steps.move(new, target)
        except OSError:
            steps.move(old, target)
            raise
        _delete(old)
    finally:
        release(number)


def _sync_tree(folder: Path) -> None:
    for each in sorted(folder.iterdir()):
        if each.is_dir() and not each.is_symlink():
            _sync_tree(each)
        elif each.is_file():
            steps.sync(each)
    steps.sync(folder)


def _delete(path: Path) -> None:
    """Delete a thing that has a temporary name already; another process may be at it too."""
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            for each in sorted(path.iterdir()):
                _delete(each)
            steps.drop(path)
        else:
            steps.unlink(path)
