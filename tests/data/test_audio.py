"""Audio files that are no audio, or not what they say: named, at once, and without taking memory."""

import io
import os
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from prune_ssl.data import (
    Corruption,
    FolderConfig,
    StreamConfig,
    check_folder,
    read_header,
    read_stream,
    read_waveform,
    survey,
    waveform_problem,
)
from prune_ssl.data.audio import decode_audio
from prune_ssl.data.recordings import Recordings
from prune_ssl.errors import DataError
from tests.support.sounds import encoded, tone, wav


def flac_that_states(samples: int) -> bytes:
    data = bytearray(encoded(tone(), kind="FLAC", subtype="PCM_16"))
    data[18:26] = (int.from_bytes(data[18:26], "big") >> 36 << 36 | samples).to_bytes(8, "big")
    return bytes(data)


FORGED = {
    "rate 0": wav(rate=0),
    "rate 1": wav(rate=1),
    "rate 999": wav(rate=999),
    "rate 768001": wav(rate=768_001),
    "rate 10 MHz": wav(rate=10**7),
    "rate 4 GHz": wav(rate=2**32 - 1),
    "no channel": wav(channels=0),
    "65535 channels": wav(channels=65_535),
    "0 bits": wav(bits=0),
    "1 bit": wav(bits=1),
    "64 bits": wav(bits=64),
    "no codec": wav(code=0),
    "extensible without its extension": wav(code=0xFFFE),
    "twice the audio stated": wav(stated=32_000),
    "a gigabyte stated": wav(stated=2**30),
    "cut WAV": wav()[:8_000],
    "cut AIFF": encoded(tone(), kind="AIFF", subtype="PCM_16")[:8_000],
    "cut AU": encoded(tone(), kind="AU", subtype="PCM_16")[:8_000],
    "cut RF64": encoded(tone(), kind="RF64", subtype="PCM_16")[:8_000],
    "cut MP3": encoded(tone(40_000), kind="MP3", subtype="MPEG_LAYER_III")[:1_000],
    "FLAC of 68 billion samples": flac_that_states(2**36 - 1),
    "FLAC of a billion samples": flac_that_states(10**9),
    "FLAC of one sample more": flac_that_states(8_001),
    "text": b"this is no audio " * 100,
    "a page": b"<!DOCTYPE html><html>404</html>",
    "a pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_forged_or_damaged_file_is_named_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(FORGED[kind])
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"a\.wav: broken: ") as caught:
        read_waveform(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="broken: "):  # the same bytes in a streamed corpus
        decode_audio(io.BytesIO(FORGED[kind]), len(FORGED[kind]))
    assert time.process_time() - began < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


@pytest.mark.parametrize("suffix", ["raw", "RAW", "au", "snd", "vox", "gsm"])
def test_a_name_does_not_make_audio_of_text(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"this is no audio " * 100)
    with pytest.raises(DataError, match=rf"a\.{suffix}: broken: "):
        read_header(path)


@pytest.mark.parametrize("stated", [2**32 - 1, 0x7FFFF000, 16_036])
def test_lengths_that_writers_into_pipes_state_are_no_damage(tmp_path: Path, stated: int) -> None:
    (tmp_path / "a.wav").write_bytes(wav(stated=stated))
    assert len(read_waveform(tmp_path / "a.wav")) == 8_000


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "AIFF", "W64", "CAF"])
def test_a_misnamed_container_is_read_by_its_content(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.wav").write_bytes(
        encoded(tone(), kind=kind, subtype="VORBIS" if kind == "OGG" else "PCM_16")
    )
    assert np.abs(read_waveform(tmp_path / "a.wav") - tone()).max() < 0.05


PLACES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "no such file$"),
    "folder": (lambda path: path.mkdir(), "a folder has this name"),
    "pipe": (lambda path: os.mkfifo(path), "a pipe, socket or device has this name"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "a pipe, socket or device has this name"),
    "loop": (lambda path: path.symlink_to(path), "symbolic links"),
    "dangling": (lambda path: path.symlink_to("gone.wav"), r"a link to gone\.wav"),
}


@pytest.mark.parametrize("kind", PLACES)
def test_what_is_no_file_is_named_and_never_waited_for(tmp_path: Path, kind: str) -> None:
    make, words = PLACES[kind]
    make(tmp_path / "a.wav")
    with pytest.raises(DataError, match=rf"a\.wav: no such file.*{words.removeprefix('no such file')}"):
        read_waveform(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["x" * 300, "a\0b.wav", "a\ud800.wav"])
def test_names_that_no_file_can_have_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_waveform(tmp_path / name)


def test_a_name_that_is_not_in_utf8_is_read(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9.wav"))
    (tmp_path / "a.wav").write_bytes(wav())
    (tmp_path / "a.wav").rename(path)
    assert len(read_waveform(path)) == 8_000


def test_files_with_many_channels_are_averaged_in_pieces(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (60_000, 90)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    assert np.array_equal(read_waveform(tmp_path / "a.wav"), samples.mean(axis=1))


LEVELS = {
    "1e6": (1e6 * tone(), "far too loud"),
    "1e30": (1e30 * tone(), "far too loud"),
    "integers as floats": (32_767 * tone(), "far too loud"),
    "a spike": (np.where(np.arange(8_000) == 70, 1e9, tone()), "far too loud"),
    "beyond float32": (1e200 * tone().astype(np.float64), "NaN or infinite"),
    "one NaN": (np.where(np.arange(8_000) == 70, np.nan, tone()), r"NaN or infinite \(1 of 8000"),
    "minus infinity": (np.where(np.arange(8_000) == 70, -np.inf, tone()), "NaN or infinite"),
    "denormals": (1e-41 * tone(), "silent"),
    "an offset": (np.full(8_000, 0.7), "silent"),
}


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        (kind, source)
        for kind, (_, words) in LEVELS.items()
        for source in ("folder", "survey", "stream", "noise", "recordings")
        if words != "silent" or source not in ("noise", "recordings")  # hum and pauses are noise
    ],
)
def test_levels_that_are_no_audio_are_named_wherever_they_come_from(
    tmp_path: Path, kind: str, source: str
) -> None:
    samples, words = LEVELS[kind]
    content = encoded(samples, subtype="DOUBLE" if kind == "beyond float32" else "FLOAT")
    root = tmp_path / "corpus"
    for split in ("train", "validation"):
        (root / split).mkdir(parents=True)
        (root / split / "good.wav").write_bytes(wav())
        (root / split / "odd.wav").write_bytes(content)
        (root / split / "metadata.csv").write_text("file_name,label\ngood.wav,a\nodd.wav,a\n")
    if source == "folder":
        with pytest.raises(DataError, match=rf"odd\.wav: {words}"):
            check_folder(root)
        (root / "train" / "metadata.csv").write_text("file_name,label\ngood.wav,a\nodd.wav,a\n")
        (root / "validation" / "metadata.csv").write_text("file_name,label\ngood.wav,a\n")
        clips = check_folder(root, FolderConfig(decode_limit_clips=1)).splits["train"]
        with pytest.raises(DataError, match=rf"odd\.wav: {words}"):  # by its header only, it passed
            clips[1].waveform()
    elif source == "survey":
        found = survey(root)
        kinds = "silent" if words == "silent" else "broken"
        assert [finding.path.name for finding in found.of_kind(kinds)] == ["odd.wav"] * 2
    elif source == "stream":
        lines = [f'{{"audio": "train/{name}.wav", "label": "a"}}' for name in ("good", "odd")]
        (root / "list.jsonl").write_text("\n".join(lines))
        files = {"train": "list.jsonl", "validation": "list.jsonl"}
        folder = read_stream(StreamConfig(path=str(root), data_files=files, target="label"))
        assert [clip.path.name for clip in folder.splits["train"]] == ["good.wav"]
        assert any(f"odd.wav: {words.partition(' (')[0]}".replace("\\", "") in note for note in folder.notes)
    else:
        (root / "train" / "good.wav").unlink()
        recordings = Recordings.of(root / "train")
        corruption = Corruption(noise=root / "train", cases=("noise",), white_probability=0.0)
        clip = np.ones(64_000, dtype=np.float32)  # longer than the file
        hear = {"noise": lambda: corruption(clip), "recordings": recordings.whole}[source]
        with pytest.raises(DataError, match=r"odd\.wav: .*loud"):
            hear()


def test_a_peak_above_full_scale_is_used_and_listed(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "a.wav").write_bytes(encoded(20 * tone(8_000 + len(split))))
        (tmp_path / split / "metadata.csv").write_text("file_name,label\na.wav,a\n")
    assert len(check_folder(tmp_path).splits["train"]) == 1
    (first, _) = survey(tmp_path).of_kind("loud")
    assert first.words == "its peak is 6, full scale is 1"


def test_a_very_long_file_is_read_as_far_as_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with path.open("wb") as file:  # 18 hours of zeros that take no room on the disk
        file.write(wav()[:40] + struct.pack("<I", 2**31 - 2**20))
        file.truncate(44 + 2**31 - 2**20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(read_waveform(path, max_seconds=2.0, start_seconds=40_000.0)) == 32_000
    with pytest.raises(DataError, match=r"long\.wav: too long to decode at once \(18\.6 hours\)"):
        read_waveform(path)
    (tmp_path / "train").mkdir()
    (tmp_path / "validation").mkdir()
    for split in ("train", "validation"):
        (tmp_path / split / "a.wav").write_bytes(wav())
        (tmp_path / split / "metadata.csv").write_text("file_name,text\na.wav,a\n")
    (tmp_path / "validation" / "metadata.csv").write_text("file_name,text\na.wav,a\n../long.wav,b\n")
    with pytest.raises(DataError, match=r"long\.wav: too long \(18\.6 hours, wanted at most one\)"):
        check_folder(tmp_path, FolderConfig(target="text", whole_clips=True, max_seconds=5))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


def test_usual_levels_are_no_problem() -> None:
    for scale in (1e-3, 1.0, 3.0):
        assert waveform_problem(scale * tone()) is None
