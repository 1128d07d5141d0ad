"""Folders of sounds to draw from: which files count, and that pieces have the asked length."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from prune_ssl.data.recordings import Recordings
from prune_ssl.errors import DataError


def write(path: Path, samples: int, rate: int = 16_000) -> np.ndarray:
    """Numbers that say where in the file each sample stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = (np.arange(1, samples + 1) / 32_768).astype(np.float32)
    soundfile.write(path, wave, rate, subtype="FLOAT")
    return wave


@pytest.fixture(scope="module")
def long(tmp_path_factory) -> Recordings:
    folder = tmp_path_factory.mktemp("sounds")
    write(folder / "a.wav", 1_000)
    return Recordings.of(folder)


def test_all_audio_of_subfolders_counts_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "b" / "deep" / "x.wav", 800)
    write(tmp_path / "a.WAV", 1_600)
    (tmp_path / "notes.txt").write_text("no audio")
    (tmp_path / "folder.wav").mkdir()
    found = Recordings.of(tmp_path)
    assert [path.name for path in found.paths] == ["a.WAV", "x.wav"]
    assert list(found.seconds) == [0.1, 0.05]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder.rmdir(), "no such folder: give a folder of recordings"),
        (lambda folder: None, r"found no audio file \(.*\.wav.*\)"),
        (lambda folder: write(folder / "x.wav", 0), r"x\.wav: the file has no samples: remove it"),
        (lambda folder: (folder / "x.wav").write_text("no audio"), r"x\.wav: broken"),
    ],
)
def test_a_folder_without_recordings_is_refused(tmp_path: Path, make, words: str) -> None:
    folder = tmp_path / "noise"
    folder.mkdir()
    make(folder)
    with pytest.raises(DataError, match=words):
        Recordings.of(folder)


@given(samples=st.integers(1, 3_000))
def test_a_piece_has_the_asked_length_and_is_unbroken(long: Recordings, samples: int) -> None:
    piece = long.piece(samples)
    assert piece.shape == (samples,)
    places = (piece * 32_768).round().long()
    steps = places.diff()
    again = steps != 1  # where a short file begins anew
    assert bool((places[1:][again] == places[0]).all())
    assert int(again.sum()) == (samples - 1) // 1_000 if samples >= 1_000 else not again.any()


def test_draws_are_those_of_the_global_generator(long: Recordings) -> None:
    torch.manual_seed(3)
    first = [long.piece(100) for _ in range(5)]
    torch.manual_seed(3)
    assert all(torch.equal(long.piece(100), each) for each in first)
    assert not torch.equal(first[0], first[1])


def test_every_file_is_drawn_and_another_rate_is_resampled(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", 500)
    write(tmp_path / "b.wav", 400, rate=8_000)
    found = Recordings.of(tmp_path)
    assert {len(found.whole()) for _ in range(40)} == {500, 800}


def test_a_file_that_is_far_too_loud_is_named_when_it_is_heard(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(500, 1e6), 16_000, subtype="FLOAT")
    found = Recordings.of(tmp_path)
    with pytest.raises(DataError, match=r"a\.wav: .*too loud"):
        found.whole()
