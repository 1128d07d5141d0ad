"""Writing: at every moment of a process's death the old thing or the new one is there, whole."""

import errno
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from faulting.forks import KILLED, forked, hidden
from safetensors.torch import save_file
from transformers import AutoModelForAudioClassification

from prune_ssl import load_pretrained, save_pretrained
from prune_ssl.errors import ArtifactError
from prune_ssl.writing import (
    check_place,
    check_room,
    clear_below,
    lock,
    new_file,
    new_folder,
    put_back,
    remove,
    steps,
    write_bytes,
    write_text,
)
from prune_ssl.writing.steps import FAULT
from tests.support.models import checksum, tiny_model


def fill(folder, words):
    (folder / "deep").mkdir()
    for name in ("a.txt", "deep/b.txt", "c.txt"):
        (folder / name).write_text(words)


def write_folder(path, words):
    with new_folder(path, replace=True) as new:
        fill(new, words)


def words_of(path):
    """The words that all files of a whole folder hold."""
    names = sorted(str(each.relative_to(path)) for each in path.rglob("*") if each.is_file())
    assert names == ["a.txt", "c.txt", "deep/b.txt"]
    (words,) = {(path / name).read_text() for name in names}
    return words


@pytest.fixture
def without_exchange(monkeypatch):
    """A file system on which two folders cannot change names in one step."""
    monkeypatch.setattr(steps, "exchange", lambda one, other: False)


# -- kills


def test_a_kill_at_any_step_leaves_the_old_folder_or_the_new_one(tmp_path):
    path = tmp_path / "thing"
    seen = set()
    write_folder(path, "old")
    for step in range(1, 60):
        status = forked(lambda: write_folder(path, "new"), f"kill@{step}")
        seen.add((status, words_of(path)))
        if status == 0:
            break
        write_folder(path, "old")
        assert hidden(tmp_path) == []  # whoever writes the thing next clears up
    assert status == 0
    assert seen == {(KILLED, "old"), (KILLED, "new"), (0, "new")}


def test_a_kill_at_any_step_leaves_no_folder_or_a_whole_one_where_there_was_none(tmp_path):
    for step in range(1, 40):
        path = tmp_path / str(step)
        status = forked(lambda: write_folder(path, "new"), f"kill@{step}")  # noqa: B023
        assert not path.exists() or words_of(path) == "new"
        write_folder(path, "later")
        if status == 0:
            break
    assert step > 8
    assert hidden(tmp_path) == []


def test_without_the_one_step_exchange_the_old_folder_can_always_be_put_back(tmp_path, without_exchange):
    path = tmp_path / "thing"
    write_folder(path, "old")
    missing = 0
    for step in range(1, 60):
        status = forked(lambda: write_folder(path, "new"), f"kill@{step}")
        missing += not path.exists()
        put_back(path)
        assert words_of(path) in ("old", "new")
        if status == 0:
            break
        write_folder(path, "old")
        assert hidden(tmp_path) == []
    assert status == 0
    assert missing == 1


@pytest.mark.parametrize("old", [None, "old"])
def test_a_kill_at_any_step_leaves_the_old_file_or_the_new_one(tmp_path, old):
    path = tmp_path / "thing.txt"
    for step in range(1, 20):
        path.unlink(missing_ok=True)
        if old is not None:
            path.write_text(old)
        status = forked(lambda: write_text(path, "new"), f"kill@{step}")
        assert (path.read_text() if path.exists() else None) in (old, "new")
        if status == 0:
            break
    assert step >= 6
    write_text(path, "last")
    assert [each.name for each in tmp_path.iterdir()] == ["thing.txt"]


def test_a_kill_at_any_step_of_a_deletion_leaves_all_or_nothing(tmp_path):
    path = tmp_path / "thing"
    for step in range(1, 20):
        write_folder(path, "old")
        status = forked(lambda: remove(path), f"kill@{step}")
        assert not path.exists() or words_of(path) == "old"
        if status == 0:
            break
    assert step >= 7
    clear_below(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_replacing_a_model_leaves_one_that_loads_at_every_kill(tmp_path):
    torch.manual_seed(1)
    old, new = tiny_model(num_labels=2), tiny_model(num_labels=2)
    known = {checksum(old), checksum(new)}
    path = tmp_path / "model"
    save_pretrained(old, path)
    seen = []
    for step in range(1, 60):
        status = forked(lambda: save_pretrained(new, path, overwrite=True), f"kill@{step}")
        seen.append(checksum(AutoModelForAudioClassification.from_pretrained(path)))
        assert checksum(load_pretrained(path)) == seen[-1]
        if status == 0:
            break
    assert status == 0
    assert set(seen) == known
    assert len(seen) >= 14
    assert [each.name for each in tmp_path.iterdir()] == ["model"]


def test_a_model_whose_replacement_was_cut_short_without_exchange_is_found(tmp_path, without_exchange):
    model = tiny_model(num_labels=2)
    path = save_pretrained(model, tmp_path / "model")
    path.rename(tmp_path / ".model.old-0123abcd")
    assert checksum(load_pretrained(path)) == checksum(model)


# -- errors inside


def test_an_exception_inside_leaves_the_old_thing_and_nothing_else(tmp_path):
    write_folder(tmp_path / "thing", "old")
    write_text(tmp_path / "file", "old")

    def half(new):
        new.write_text("half")
        raise KeyError

    with pytest.raises(KeyError):
        write_with(tmp_path / "file", half)
    with pytest.raises(KeyError), new_folder(tmp_path / "thing", replace=True) as new:
        half(new / "a.txt")
    assert words_of(tmp_path / "thing") == "old"
    assert (tmp_path / "file").read_text() == "old"
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_full_disk_at_any_step_is_one_error_and_leaves_the_old_thing(tmp_path, monkeypatch, kind):
    path = tmp_path / "thing"
    write = {"folder": write_folder, "file": write_text}[kind]
    read = {"folder": words_of, "file": Path.read_text}[kind]
    write(path, "old")
    message, failures, over = rf"{path} cannot be written: the disk is full\. Free some space", 0, False
    while not over:
        monkeypatch.setattr(steps, "_taken", 0)
        monkeypatch.setenv(FAULT, f"enospc@{failures + 1}")
        try:
            write(path, "new")
            over = True
        except ArtifactError as error:
            failures += 1
            shown = str(error)
        assert over or re.match(message, shown)
        # The last step waits for the entry of a thing that stands already.
        assert read(path) in ("old", "new")
        assert hidden(tmp_path) == []
    assert failures >= 4
    assert read(path) == "new"


@pytest.fixture
def files_of_20_kb_at_most():
    """What a writer's library meets on a full disk: the system refuses to make a file larger."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("library", ["python", "safetensors", "torch", "transformers"])
def test_what_libraries_make_of_a_failed_write_is_one_error(tmp_path, files_of_20_kb_at_most, library):
    large = torch.zeros(100_000)
    acts = {
        "python": lambda: write_bytes(tmp_path / "x", bytes(100_000)),
        "safetensors": lambda: write_with(tmp_path / "x", lambda new: save_file({"a": large}, new)),
        "torch": lambda: write_with(tmp_path / "x", lambda new: torch.save(large, new)),
        "transformers": lambda: save_pretrained(tiny_model(), tmp_path / "x"),
    }
    with pytest.raises(ArtifactError, match="x cannot be written: "):
        acts[library]()
    assert list(tmp_path.iterdir()) == []


def write_with(path, act):
    with new_file(path) as new:
        act(new)


def test_a_fault_of_the_program_inside_is_not_taken_for_one_of_the_disk(tmp_path):
    with pytest.raises(RuntimeError, match="shapes differ"), new_file(tmp_path / "x"):
        raise RuntimeError("shapes differ")


# -- places


def below_a_file(folder):
    (folder / "file").write_text("")
    return folder / "file" / "deep" / "out"


def dangling(folder):
    (folder / "link").symlink_to(folder / "gone")
    return folder / "link"


def round_in_circles(folder):
    (folder / "link").symlink_to(folder / "link")
    return folder / "link"


def below_a_link_to_a_file(folder):
    (folder / "file").write_text("")
    (folder / "link").symlink_to(folder / "file")
    return folder / "link" / "out"


PLACES = {
    "below a file": (below_a_file, "a part of the path is a file"),
    "below a link to a file": (below_a_link_to_a_file, "a part of the path is a file"),
    "a dangling link": (dangling, "is a link to .*gone, which does not exist"),
    "a link to itself": (round_in_circles, "is a link to .*link, which does not exist"),
    "a long name": (lambda folder: folder / ("n" * 256), "the name is too long"),
    "a name with no room for a temporary one": (lambda folder: folder / ("n" * 250), "the name is too long"),
    "a long name of few letters": (lambda folder: folder / ("\N{BANANA}" * 64), "the name is too long"),
    "a long part of a path": (lambda folder: folder / ("n" * 256) / "out", "the name is too long"),
    "a long path": (lambda folder: folder / "/".join(["n" * 200] * 30), "the name is too long"),
    "a read-only file system": (lambda folder: Path("/proc/self/out"), "cannot be written"),
    "a mounted disk": (lambda folder: Path("/proc"), "a disk is mounted there|cannot be written"),
}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("act", ["check", "folder", "lock", "model"])
def test_a_place_that_cannot_be_written_is_one_error_beforehand(tmp_path, name, act):
    make, message = PLACES[name]
    path = make(tmp_path)
    acts = {
        "check": lambda: check_place(path, as_whole=True),
        "folder": lambda: write_folder(path, "x"),
        "lock": lambda: lock(path).__enter__(),
        "model": lambda: save_pretrained(tiny_model(), path),
    }
    if act == "lock" and name == "a mounted disk":
        pytest.skip("a folder where a disk is mounted can be written into")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ArtifactError, match=message) as caught:
        acts[act]()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_without_the_right_to_write_is_one_error(tmp_path, monkeypatch):
    # The superuser may write everywhere, so the system's answer is given for it.
    monkeypatch.setattr("prune_ssl.writing.places.os.access", lambda path, mode: False)
    with pytest.raises(ArtifactError, match="you have no right to write there"):
        save_pretrained(tiny_model(), tmp_path / "model")


def test_a_link_to_a_folder_is_followed_and_stays(tmp_path):
    (tmp_path / "disk" / "space").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "space")
    for words in ("first", "second"):
        write_folder(tmp_path / "link", words)
        assert (tmp_path / "link").is_symlink()
        assert words_of(tmp_path / "disk" / "space") == words
    write_text(tmp_path / "disk" / "plain", "x")
    (tmp_path / "file").symlink_to(tmp_path / "disk" / "plain")
    write_text(tmp_path / "file", "y")
    assert (tmp_path / "file").is_symlink()
    assert (tmp_path / "disk" / "plain").read_text() == "y"
    remove(tmp_path / "link")
    assert words_of(tmp_path / "disk" / "space") == "second"


def test_what_is_no_plain_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="no plain file"):
        write_text(tmp_path / "pipe", "x")
    with pytest.raises(ArtifactError, match="no plain file"):
        write_text("/dev/null", "x")
    assert Path("/dev/null").is_char_device()


def test_a_replaced_file_keeps_its_mode(tmp_path):
    write_text(tmp_path / "x", "old").chmod(0o640)
    write_text(tmp_path / "x", "new")
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640


def test_a_disk_without_room_is_refused_with_both_numbers(tmp_path):
    with pytest.raises(
        ArtifactError, match=r"the checkpoints take about 1e\+06 GB, and the disk has .* free"
    ):
        check_room(tmp_path / "not" / "there", 10**15, "the checkpoints")
    check_room(tmp_path, 10**15, "the checkpoints", freed_bytes=10**15)
    check_room(tmp_path, 1000, "the checkpoints")


# -- locks and leftovers


def holding(path):
    """A process that holds the lock of a path until it is told to end."""
    code = (
        "import sys, time\nfrom prune_ssl.writing import lock\n"
        "with lock(sys.argv[1]):\n    print('locked', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    return process


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
    with pytest.warns(UserWarning, match="knows no locks"), lock(tmp_path / "thing"):
        pass


def test_only_own_names_are_cleared_away(tmp_path):
    for name in (".git", ".thing.partial-1", "thing.partial-00000000", ".other.partial-00000000"):
        (tmp_path / name).mkdir()
    (tmp_path / ".thing.gone-0123abcd").mkdir()
    write_folder(tmp_path / "thing", "x")
    names = {each.name for each in tmp_path.iterdir()}
    assert names == {".git", ".thing.partial-1", "thing.partial-00000000", ".other.partial-00000000", "thing"}


def test_what_is_deleted_under_a_run_is_not_made_again(tmp_path):
    for act in (remove, lambda path: path.rename(tmp_path / "away")):
        out = tmp_path / "out"
        out.mkdir()
        with lock(out) as held:
            held.guard()
            write_text(out / "deep" / "x", "x")
            act(out)
            with pytest.raises(ArtifactError, match=r"was deleted, moved or replaced while this run"):
                write_text(out / "deep" / "y", "y")
            assert not out.exists()
        write_text(out / "deep" / "y", "y")  # nobody's run any more
        remove(out)
