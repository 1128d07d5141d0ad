"""Streamed corpora with rows and files of odd kinds: left out and named, or one error."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile

from prune_ssl.data import StreamConfig, StreamedClips, read_stream
from prune_ssl.data.stream_rows import audio_of, speaker_of, target_of
from prune_ssl.errors import DataError
from tests.support.streams import both_splits, encoded, parquet, tone


@pytest.mark.parametrize("harm", ["cut", "head", "text"])
def test_damaged_parquet_is_one_error(tmp_path: Path, harm: str) -> None:
    both_splits(tmp_path / "data")
    path = tmp_path / "data" / "train-00000-of-00001.parquet"
    data = path.read_bytes()
    path.write_bytes({"cut": data[: len(data) // 2], "head": data[30:], "text": b"no parquet"}[harm])
    with pytest.raises(DataError, match=r"data: (split 'train'|train) cannot be (streamed|read)"):
        read_stream(StreamConfig(path=str(tmp_path / "data"), target="label"))


def test_a_file_that_breaks_off_is_one_error_in_training_too(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0), 16_000)
    good = json.dumps({"audio": "a.wav", "label": "x"})
    (tmp_path / "list.jsonl").write_text("\n".join([good] * 5 + ['{"audio": ']))
    files = {"train": "list.jsonl", "validation": "list.jsonl"}
    config = StreamConfig(path=str(tmp_path), data_files=files, target="label")
    for read in (lambda: read_stream(config), lambda: list(StreamedClips(config, lambda _: 0))):
        with pytest.raises(DataError, match=r"cannot be (streamed|read)"):
            read()


def test_a_cut_tar_is_one_error(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        with tarfile.open(tmp_path / f"{split}-0.tar", "w") as tar:
            for index in range(6):
                for suffix, content in (("wav", encoded(tone(index))), ("txt", b"A")):
                    entry = tarfile.TarInfo(f"clip{index}.{suffix}")
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
    path = tmp_path / "train-0.tar"
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3 + 100])
    with pytest.raises(DataError, match=r"cannot be (streamed|read)"):
        read_stream(StreamConfig(path=str(tmp_path), audio="wav", target="txt"))


def test_clips_without_a_class_and_forged_ones_are_left_out_and_named(tmp_path: Path) -> None:
    forged = bytearray(encoded(tone(0)))
    forged[24:28] = (10_000_000).to_bytes(4, "little")
    clips = [encoded(tone(0)), bytes(forged), encoded(1e9 * tone(1)), encoded(tone(2))]
    parquet(tmp_path / "data", clips, labels=[0, 0, 1, -1])
    parquet(tmp_path / "data", clips[:1], "validation", labels=[0])
    folder = read_stream(StreamConfig(path=str(tmp_path / "data"), target="label"))
    assert [clip.path.name for clip in folder.splits["train"]] == ["0.wav"]
    assert any(
        "3 clips of train cannot be used, first: 1.wav: broken: the header states 10000000 Hz" in note
        for note in folder.notes
    )


ODD: dict[str, tuple[Any, str]] = {
    "no rate": ({"array": [0.0, 0.1]}, "sampling_rate"),
    "rate 0": ({"array": [0.0, 0.1], "sampling_rate": 0}, "the header states 0 Hz"),
    "rate of GHz": ({"array": [0.0, 0.1], "sampling_rate": 10**9}, "wanted a sample rate"),
    "rate of text": ({"array": [0.0, 0.1], "sampling_rate": "x"}, "invalid literal"),
    "ragged": ({"array": [[0.0], [0.1, 0.2]], "sampling_rate": 16_000}, "."),
    "a cube": ({"array": np.zeros((2, 2, 9)), "sampling_rate": 16_000}, r"samples of shape \(2, 2, 9\)"),
    "text": ({"array": "abc", "sampling_rate": 16_000}, "."),
    "nothing": (None, "found NoneType, wanted audio"),
    "a number": (5, "found int, wanted audio"),
    "no bytes": (b"", "broken"),
    "gone": ({"bytes": None, "path": "gone.wav"}, "no such file"),
    "a long name": ("x" * 5_000, "no such file"),
    "a folder": (".", "no such file"),
}


@pytest.mark.parametrize("kind", ODD)
def test_values_that_are_no_audio_are_refused(tmp_path: Path, kind: str) -> None:
    value, words = ODD[kind]
    with pytest.raises((DataError, TypeError, ValueError, KeyError), match=words):
        audio_of(value, str(tmp_path), None)


@pytest.mark.parametrize(
    "path", ["{secret}", "../secret.wav", "file://{secret}", "simplecache::file://{secret}"]
)
def test_data_of_the_hub_may_not_name_files_of_this_machine(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret.wav"
    soundfile.write(secret, tone(0), 16_000)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(DataError, match=r"file of this machine|not a file of the data set"):
        audio_of(path.format(secret=secret), "someone/corpus", None)
    assert len(audio_of(str(secret), str(tmp_path / "here"), None)) == len(tone(0))  # one's own list of paths


def test_speakers_are_text_numbers_or_nothing() -> None:
    names = {"speaker": ["ann", "bob"].__getitem__}
    rows = [{"speaker": 1}, {"speaker": -1}, {"speaker": None, "speaker_id": 19}, {"text": "no"}]
    assert [speaker_of(row, names) for row in rows] == ["bob", None, "19", None]


def test_targets_are_text_numbers_or_nothing() -> None:
    names = {"label": datasets.ClassLabel(names=["no", "yes"]).int2str}
    assert target_of({"label": 1}, "label", names) == "yes"
    assert target_of({"label": -1}, "label", names) == target_of({}, "label", names) == ""
    assert target_of({"label": " 1.0 "}, "label", {}) == "1.0"
    for value in (["yes"], {"name": "yes"}):
        with pytest.raises(DataError, match=r"its label is .*, wanted text or a number"):
            target_of({"label": value}, "label", {})
