"""Write and delete files and folders atomically: they appear whole or not at all, and disappear whole."""

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
from prune_ssl.writing.places import as_artifact_error, check_place, is_taken, real_place

PARTIAL, OLD, GONE = "partial", "old", "gone"
"""Kinds of temporary names: a thing being made; a folder being replaced, if two folders cannot be exchanged
in one step; a thing being deleted."""
ABANDONED_SECONDS = 24 * 3600
"""If nothing can be locked, a leftover of this age is taken to be from a killed process."""
_LEFTOVER = re.compile(rf"\.(?P<name>.+)\.(?P<kind>{PARTIAL}|{OLD}|{GONE})-[0-9a-f]{{8}}", re.DOTALL)


def write_text(path: str | Path, text: str) -> Path:
    r"""Write a UTF-8 file atomically, and return its path. An existing file is replaced.

    Raises:
        ArtifactError: the file cannot be written.

    >>> write_text("notes.txt", "one line\n").read_text()
    'one line\n'
    """
    return write_bytes(path, text.encode("utf-8"))


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write a file atomically, and return its path. An existing file is replaced.

    Raises:
        ArtifactError: the file cannot be written.
    """
    with new_file(path) as new:
        steps.write(new, data)
    return Path(path)


def copy_file(source: str | Path, path: str | Path) -> Path:
    """Copy a file atomically, and return the new path. An existing file is replaced. Links are followed.

    Raises:
        ArtifactError: the file cannot be written.

    >>> copy_file(write_text("a.txt", "text"), "folder/b.txt").read_text()
    'text'
    """
    with new_file(path) as new:
        steps.copy(Path(source), new)
    return Path(path)


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path for a file, which is moved to `path` at the end if nothing was raised.

    Missing folders are made. Errors of the disk inside the block become one error.

    Raises:
        ArtifactError: the file cannot be written.

    >>> with new_file("table.csv") as new:
    ...     _ = new.write_text("name,value")
    >>> Path("table.csv").read_text()
    'name,value'
    """
    check_place(path)
    with as_artifact_error(path):
        target = real_place(path)
        if target.exists() and not target.is_file():
            raise ArtifactError(f"{path} exists and is not a plain file. Give another file.")
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
    """Yield a temporary folder, which is moved to `path` at the end if nothing was raised.

    With `replace` an existing folder is deleted after the new one stands. The two are exchanged in one step,
    so that there is a whole folder at every moment. Some systems have no such step (those other than Linux,
    and some network file systems). There the old folder is renamed first. If the process is killed between
    the two steps, the next process that writes or loads the folder restores it (`put_back`).

    Raises:
        ArtifactError: the folder cannot be written, or it exists and `replace` is not set.

    >>> with new_folder("model") as new:
    ...     _ = (new / "config.json").write_text("{}")
    >>> [path.name for path in Path("model").iterdir()]
    ['config.json']
    """
    check_place(path, as_whole=True)
    with as_artifact_error(path):
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
    """Make a folder with its missing parents, and return its path. An existing folder stays as it is.

    Raises:
        ArtifactError: the folder cannot be made, or somebody deleted a guarded folder during this run.

    >>> make_folder("runs/small").is_dir()
    True
    """
    folder = Path(path)
    with as_artifact_error(path, "made"):
        check_guards(Path(os.path.realpath(folder)))
        for each in reversed([each for each in (folder, *folder.parents) if not each.is_dir()]):
            try:
                steps.make(each)
            except FileExistsError:
                if not each.is_dir():  # a folder means that another process was faster
                    raise
    return folder


def remove(path: str | Path) -> None:
    """Delete a file, a link, or a folder with its content. A missing path is not an error.

    A folder is renamed first, so that nobody takes a half-deleted one for a whole one.

    Raises:
        ArtifactError: the path cannot be deleted.

    >>> remove(make_folder("runs"))
    >>> Path("runs").exists()
    False
    """
    target = Path(path)
    with as_artifact_error(path, "deleted"):
        if target.is_dir() and not target.is_symlink():
            gone = _beside(target, GONE)
            steps.move(target, gone)
            _delete(gone)
        elif os.path.lexists(target):
            with suppress(FileNotFoundError):
                steps.unlink(target)


def clear_leftovers(path: str | Path) -> None:
    """Delete the leftovers of killed processes that wrote or deleted `path`, and restore a renamed folder.

    The files of a living process stay.
    """
    target = Path(os.path.realpath(path))
    for left, kind, name in _leftovers(target.parent):
        if name == target.name:
            _clear(left, kind, target)


def clear_below(folder: str | Path, deep: bool = True) -> None:
    """Call `clear_leftovers` for everything in a folder, and (if `deep`) in its subfolders."""
    top = Path(os.path.realpath(folder))
    for left, kind, name in _leftovers(top) if top.is_dir() else ():
        _clear(left, kind, left.with_name(name))
    for each in sorted(top.iterdir()) if deep and top.is_dir() else ():
        if each.is_dir() and not each.is_symlink() and not _LEFTOVER.fullmatch(each.name):
            clear_below(each)


def put_back(path: str | Path) -> None:
    """Restore a folder whose replacement was interrupted between two renames."""
    target = Path(os.path.realpath(path))
    for left, kind, name in _leftovers(target.parent):
        if kind == OLD and name == target.name and not target.exists():
            _clear(left, kind, target)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a temporary folder, for example for files that another library reads. It is deleted afterwards.

    Raises:
        ArtifactError: there is no folder for temporary files, or its disk is full.

    >>> with temporary_folder() as folder:
    ...     folder.is_dir()
    True
    """
    place = "the folder for temporary files (TMPDIR)"
    with as_artifact_error(place):
        made = tempfile.TemporaryDirectory()
    with made as name:
        try:
            yield Path(name)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise  # it may be an error of a file that is being read
            with as_artifact_error(place):
                raise


def _beside(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.name}.{kind}-{secrets.token_hex(4)}")


def _leftovers(folder: Path) -> list[tuple[Path, str, str]]:
    """Return the leftovers in a folder, each with its kind and its final name."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    found = [(name, _LEFTOVER.fullmatch(name)) for name in names]
    return [(folder / name, match["kind"], match["name"]) for name, match in found if match]


def _clear(left: Path, kind: str, target: Path) -> None:
    """Delete or restore a leftover, unless a living process holds it."""
    with suppress(OSError):  # on an error it stays until the next time
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
    """Yield a folder next to `target` that no other process deletes while this process lives."""
    number, folder = None, target
    while number is None:
        folder = _beside(target, PARTIAL)
        steps.make(folder)
        with suppress(FileNotFoundError):  # another process has just deleted it
            number = os.open(folder, os.O_RDONLY)
            if try_lock(number) is False or not folder.exists():
                release(number)
                number = None
    try:
        yield folder
    finally:
        with suppress(OSError):  # on an error it stays until the next time
            _delete(folder)
        release(number)


def _put(new: Path, target: Path) -> None:
    """Move a new folder to its place. An old folder there ends up at the new one's path, or is deleted."""
    if not is_taken(target):
        steps.move(new, target)
        return
    if steps.exchange(new, target):
        return
    number = os.open(target, os.O_RDONLY)
    try:
        try_lock(number)  # so that no other process restores it while this process lives
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
    """Delete a file or folder that already has a temporary name. Another process may delete it too."""
    with suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            for each in sorted(path.iterdir()):
                _delete(each)
            steps.drop(path)
        else:
            steps.unlink(path)
