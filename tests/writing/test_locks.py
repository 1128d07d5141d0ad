"""Locks keep a second process out, and go with the first; what a living process writes stays."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
from faulting.forks import KILLED, forked, hidden

from prune_ssl.errors import ArtifactError
from prune_ssl.writing import (
    clear_below,
    lock,
    new_folder,
    remove,
)
from tests.support.writing import fill, words_of, write_folder


def holding(path):
    """A process that holds the lock of a path until it is told to end."""
    code = (
        "import sys, time\nfrom prune_ssl.writing import lock\n"
        "with lock(sys.argv[1]):\n    print('locked', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    return process


@pytest.mark.slow
def test_a_second_process_is_refused_by_name_until_the_first_is_dead(tmp_path):
    path = tmp_path / "runs" / "out"
    process = holding(path)
    try:
        with (
            pytest.raises(ArtifactError, match=rf"out is in use by process {process.pid} on \S+ since 20\S+"),
            lock(path),
        ):
            pass
        with lock(tmp_path / "runs" / "other"):
            pass
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    with lock(path):
        assert hidden(tmp_path) == ["runs/.out.lock"]
    assert hidden(tmp_path) == []


def test_a_lock_leaves_no_folder_that_it_made(tmp_path):
    with lock(tmp_path / "a" / "b" / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_child_of_a_killed_process_does_not_hold_its_lock(tmp_path):
    read, write = os.pipe()

    def act():
        with lock(tmp_path / "out"):
            child = os.fork()  # such as a worker of a loader
            if child == 0:
                time.sleep(60)
                os._exit(0)
            os.write(write, str(child).encode())
            os.kill(os.getpid(), signal.SIGKILL)

    assert forked(act) == KILLED
    worker = int(os.read(read, 20))
    try:
        with lock(tmp_path / "out"):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_what_a_living_process_writes_is_not_cleared_away(tmp_path):
    with new_folder(tmp_path / "thing") as new:
        fill(new, "first")
        assert forked(lambda: write_folder(tmp_path / "thing", "second")) == 0
        assert forked(lambda: clear_below(tmp_path)) == 0
        assert words_of(new) == "first"
        remove(tmp_path / "thing")
    assert words_of(tmp_path / "thing") == "first"
    assert hidden(tmp_path) == []


def test_where_nothing_can_be_locked_only_what_is_old_is_cleared_away(tmp_path, monkeypatch):
    def refuse(number, how):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("prune_ssl.writing.locks.fcntl.flock", refuse)
    for name in (".thing.partial-00000000", ".thing.partial-00000001"):
        (tmp_path / name).mkdir()
    os.utime(tmp_path / ".thing.partial-00000000", (0, 0))
    write_folder(tmp_path / "thing", "x")
    assert hidden(tmp_path) == [".thing.partial-00000001"]
    with pytest.warns(UserWarning, match="does not support locks"), lock(tmp_path / "thing"):
        pass


def test_only_own_names_are_cleared_away(tmp_path):
    for name in (".git", ".thing.partial-1", "thing.partial-00000000", ".other.partial-00000000"):
        (tmp_path / name).mkdir()
    (tmp_path / ".thing.gone-0123abcd").mkdir()
    write_folder(tmp_path / "thing", "x")
    names = {each.name for each in tmp_path.iterdir()}
    assert names == {".git", ".thing.partial-1", "thing.partial-00000000", ".other.partial-00000000", "thing"}
