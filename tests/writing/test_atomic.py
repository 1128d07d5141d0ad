"""Writing: at every moment of a process's death the old thing or the new one is there, whole."""

import re
import resource
import signal
from pathlib import Path

import pytest
import torch
from faulting.forks import KILLED, forked, hidden
from safetensors.torch import save_file
from transformers import AutoModelForAudioClassification

from prune_ssl import load_pretrained, save_pretrained
from prune_ssl.errors import ArtifactError
from prune_ssl.writing import (
    clear_below,
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
from tests.support.writing import words_of, write_folder


@pytest.fixture
def without_exchange(monkeypatch):
    """A file system on which two folders cannot change names in one step."""
    monkeypatch.setattr(steps, "exchange", lambda one, other: False)


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


def test_a_replaced_file_keeps_its_mode(tmp_path):
    write_text(tmp_path / "x", "old").chmod(0o640)
    write_text(tmp_path / "x", "new")
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o640
