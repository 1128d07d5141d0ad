"""The steps of writing: each is counted, may be made to fail, and does one thing."""

import errno
import os
import stat
import time
from pathlib import Path

import pytest
from faulting.forks import KILLED, TERMINATED, YEAR, forked

from prune_ssl.writing import steps


@pytest.fixture(autouse=True)
def _from_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "_taken", 0)
    monkeypatch.delenv(steps.FAULT, raising=False)


def all_steps(folder: Path) -> None:
    """Each kind of step once, in this order."""
    steps.make(folder / "made")
    steps.write(folder / "made" / "x", b"old")
    steps.copy(folder / "made" / "x", folder / "y")
    steps.sync(folder / "y")
    steps.move(folder / "y", folder / "z")
    steps.unlink(folder / "z")
    steps.unlink(folder / "made" / "x")
    steps.drop(folder / "made")


KINDS = ["make", "write", "write", "sync", "move", "unlink", "unlink", "drop"]


def test_every_step_is_told_with_its_number_and_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "trace"
    monkeypatch.setenv(steps.FAULT, f"trace@{told}")
    (tmp_path / "here").mkdir()
    all_steps(tmp_path / "here")
    lines = [line.split(" ", 2) for line in told.read_text().splitlines()]
    assert [line[0] for line in lines] == [str(number) for number in range(1, len(KINDS) + 1)]
    assert [line[1] for line in lines] == KINDS
    assert lines[0][2] == str(tmp_path / "here" / "made")
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize("number", [1, 2, 4, 5, 8])
def test_a_kill_comes_before_its_step(tmp_path: Path, number: int) -> None:
    assert forked(lambda: all_steps(tmp_path), f"kill@{number}") == KILLED
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert (
        left
        == {
            1: [],
            2: ["made"],
            4: ["made", "made/x", "y"],
            5: ["made", "made/x", "y"],
            8: ["made"],
        }[number]
    )
    if number == 4:  # a power cut may leave half of what was not brought to the disk yet
        assert (tmp_path / "y").read_bytes() == b"o"


def test_a_full_disk_stops_what_needs_space_and_nothing_else(tmp_path, monkeypatch) -> None:
    steps.write(tmp_path / "x", b"1")
    monkeypatch.setenv(steps.FAULT, "enospc@2")
    for act in (
        lambda: steps.make(tmp_path / "made"),
        lambda: steps.write(tmp_path / "y", b""),
        lambda: steps.copy(tmp_path / "x", tmp_path / "y"),
        lambda: steps.sync(tmp_path / "x"),
    ):
        with pytest.raises(OSError, match="No space left") as caught:
            act()
        assert caught.value.errno == errno.ENOSPC
    steps.move(tmp_path / "x", tmp_path / "z")
    steps.unlink(tmp_path / "z")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_became_read_only_refuses_each_change_from_a_step_on(tmp_path, monkeypatch) -> None:
    steps.write(tmp_path / "x", b"1")
    monkeypatch.setenv(steps.FAULT, "erofs@2")
    for act in (
        lambda: steps.make(tmp_path / "made"),
        lambda: steps.write(tmp_path / "y", b""),
        lambda: steps.move(tmp_path / "x", tmp_path / "y"),
        lambda: steps.unlink(tmp_path / "x"),
    ):
        with pytest.raises(OSError, match="Read-only") as caught:
            act()
        assert caught.value.errno == errno.EROFS
    steps.sync(tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_process_is_terminated_before_its_step_and_a_clock_jumps(tmp_path: Path) -> None:
    assert forked(lambda: all_steps(tmp_path), "term@2") == TERMINATED
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    now, told = time.time(), tmp_path / "told"

    def act() -> None:
        steps.drop(tmp_path / "made")
        told.write_text(str(time.time()))

    assert forked(act, "clock@1") == 0
    assert abs(float(told.read_text()) - now) > YEAR / 2


def test_a_process_of_its_own_counts_from_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        steps.write(tmp_path / str(number), b"")
    assert forked(lambda: steps.write(tmp_path / "child", b""), "kill@1") == KILLED
    assert not (tmp_path / "child").exists()


def test_a_move_replaces_a_file_and_an_empty_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        steps.write(tmp_path / name, name.encode())
        steps.make(tmp_path / f"folder-{name}")
    steps.move(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"a"
    steps.write(tmp_path / "folder-a" / "x", b"x")
    steps.move(tmp_path / "folder-a", tmp_path / "folder-b")
    assert [path.name for path in (tmp_path / "folder-b").iterdir()] == ["x"]


def test_two_things_change_names_or_neither_does(tmp_path: Path) -> None:
    steps.write(tmp_path / "file", b"file")
    steps.make(tmp_path / "folder")
    if steps.exchange(tmp_path / "file", tmp_path / "folder"):
        assert (tmp_path / "folder").read_bytes() == b"file"
        assert (tmp_path / "file").is_dir()
    else:  # such file systems are put right by moves
        assert (tmp_path / "file").read_bytes() == b"file"


def test_there_must_be_both(tmp_path: Path) -> None:
    steps.make(tmp_path / "one")
    steps.make(tmp_path / "other")
    if not steps.exchange(tmp_path / "one", tmp_path / "other"):
        pytest.skip("this file system has no such step")
    with pytest.raises(FileNotFoundError, match="other"):
        steps.exchange(tmp_path / "gone", tmp_path / "other")


def test_a_system_without_that_step_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps.sys, "platform", "darwin")
    steps.write(tmp_path / "a", b"a")
    steps.write(tmp_path / "b", b"b")
    assert steps.exchange(tmp_path / "a", tmp_path / "b") is False
    assert (tmp_path / "a").read_bytes() == b"a"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_file_systems_that_do_not_sync_folders_are_no_error(tmp_path, monkeypatch, number: int) -> None:
    def refuse(handle: int) -> None:
        assert stat.S_ISDIR(os.fstat(handle).st_mode)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(steps.os, "fsync", refuse)
    if number == errno.EIO:
        with pytest.raises(OSError, match="Input/output error"):
            steps.sync(tmp_path)
    else:
        steps.sync(tmp_path)


def test_nothing_that_is_not_empty_is_dropped(tmp_path: Path) -> None:
    steps.make(tmp_path / "full")
    steps.write(tmp_path / "full" / "x", b"")
    with pytest.raises(OSError, match="not empty"):
        steps.drop(tmp_path / "full")
    with pytest.raises(FileExistsError):
        steps.make(tmp_path / "full")
