"""Folders of sounds to draw from: which files count, and that pieces have the asked length."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from prune_ssl.data import recordings
from prune_ssl.data.recordings import Recordings, Rooms
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


def test_lists_patterns_and_links_are_followed(tmp_path: Path) -> None:
    """MUSAN and UrbanSound8K as they are unpacked, without the classes 2 and 9 of the latter."""
    for name in ("fold1/7-1-0-0", "fold1/8-2-0-0", "fold2/9-9-0-0", "fold10/6-0-1-0"):
        write(tmp_path / "urban" / "audio" / f"{name}.wav", 100)
    write(tmp_path / "elsewhere" / "free" / "x.wav", 100)
    (tmp_path / "musan").mkdir()
    (tmp_path / "musan" / "noise").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "free" / "round").symlink_to(tmp_path / "elsewhere")  # a circle
    (tmp_path / "musan" / "y.wav").symlink_to(tmp_path / "urban" / "audio" / "fold1" / "7-1-0-0.wav")
    sources = (
        tmp_path / "musan",
        f"{tmp_path}/urban/audio/fold*/*-[!29]-*-*.wav",
        tmp_path / "musan" / "y.wav",
    )
    found = Recordings.of(sources)
    assert sorted(path.name for path in found.paths) == ["6-0-1-0.wav", "7-1-0-0.wav", "x.wav", "y.wav"]
    with pytest.raises(DataError, match=r"\*\.flac: found no audio file"):
        Recordings.of((tmp_path / "musan", f"{tmp_path}/urban/*.flac"))
    with pytest.raises(DataError, match="no such folder"):
        Recordings.of(f"{tmp_path}/gone/*.wav")


def room(samples: int = 4_000, direct: int = 300) -> np.ndarray:
    tail = np.random.default_rng(0).standard_normal(samples) * 0.1 * np.exp(-np.arange(samples) / 600)
    tail[:direct], tail[direct] = 0, 1
    return tail


def test_noise_is_refused_as_a_room_by_its_name_or_by_its_sound(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a_rir.wav", room(), 16_000)
    assert len(Rooms.of(tmp_path).whole()) == 4_000
    noise = 0.1 * np.random.default_rng(1).standard_normal(4_000)
    soundfile.write(tmp_path / "b_noise.wav", noise, 16_000)
    with pytest.raises(DataError, match=r"b_noise\.wav: noise by its name, as 1 of 2 files"):
        Rooms.of(tmp_path)
    assert len(Rooms.of(f"{tmp_path}/*rir*").paths) == 1
    (tmp_path / "b_noise.wav").rename(tmp_path / "b.wav")
    with pytest.raises(DataError, match=r"b\.wav: noise by its sound"):
        Rooms.of(tmp_path)


def test_one_channel_of_a_room_is_drawn_and_channels_are_not_averaged(tmp_path: Path) -> None:
    both = np.stack([room(direct=300), room(direct=340)], axis=1)
    soundfile.write(tmp_path / "two.wav", both, 16_000, subtype="FLOAT")
    found = [Rooms.of(tmp_path).whole().numpy() for _ in range(20)]
    assert {int(np.abs(each).argmax()) for each in found} == {300, 340}
    for each in found:
        assert min(np.abs(each - both[:, channel]).max() for channel in (0, 1)) < 1e-6


def test_nothing_is_decoded_before_it_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(100):
        soundfile.write(tmp_path / f"{number}.wav", room(), 16_000)
    read, whole = [], recordings.read_waveform
    monkeypatch.setattr(
        recordings, "read_waveform", lambda path, *a, **k: read.append(path) or whole(path, *a, **k)
    )
    noises = Recordings.of(tmp_path)
    assert read == []
    noises.piece(100)
    assert len(read) == 1
    Rooms.of(tmp_path)
    assert len(read) <= 1 + recordings.HEARD_ROOMS
