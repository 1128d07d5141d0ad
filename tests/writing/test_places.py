"""Places that cannot be written are one error beforehand; links are followed, devices left alone."""

import os
from pathlib import Path

import pytest

from prune_ssl import save_pretrained
from prune_ssl.errors import ArtifactError
from prune_ssl.writing import check_place, check_room, lock, remove, write_text
from tests.support.models import tiny_model
from tests.support.writing import below_a_file, dangling, words_of, write_folder


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
    with pytest.raises(ArtifactError, match="not a plain file"):
        write_text(tmp_path / "pipe", "x")
    with pytest.raises(ArtifactError, match="not a plain file"):
        write_text("/dev/null", "x")
    assert Path("/dev/null").is_char_device()


def test_a_disk_without_room_is_refused_with_both_numbers(tmp_path):
    with pytest.raises(
        ArtifactError, match=r"the checkpoints take about 1e\+06 GB, and the disk has .* free"
    ):
        check_room(tmp_path / "not" / "there", 10**15, "the checkpoints")
    check_room(tmp_path, 10**15, "the checkpoints", freed_bytes=10**15)
    check_room(tmp_path, 1000, "the checkpoints")
