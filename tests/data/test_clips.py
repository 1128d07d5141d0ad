"""Datasets of clips: samples and encoded labels, pieces of long clips, and clips that cannot be used."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from prune_ssl.data import Clip, ClipDataset, FolderConfig, check_folder, read_waveform
from prune_ssl.errors import DataError
from tests.support.folders import tone


def numbered_clips(folder: Path, count: int, unusable: set[int]) -> list[Clip]:
    """Clips of their own numbers, of which some turn out to be silent or broken only when they are read."""
    for index in range(count):
        soundfile.write(folder / f"{index}.wav", 0.0 * tone() if index in unusable else tone(), 16_000)
    for index in sorted(unusable)[:1]:
        (folder / f"{index}.wav").write_bytes(b"RIFF")
    return [Clip(folder / f"{index}.wav", str(index), 0.1) for index in range(count)]


def test_training_goes_on_without_clips_that_turn_out_to_be_unusable(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips = numbered_clips(tmp_path, 30, {3, 4, 29})
    dataset = ClipDataset(clips, int, skip_unusable=True)
    with caplog.at_level("WARNING"):
        found = [dataset[index]["labels"] for index in range(30)]
    assert found == [0, 1, 2, 5, 5, *range(5, 29), 0]
    assert len(caplog.messages) == 3
    assert caplog.messages[0].startswith("left out (1 so far), the next clip is used instead: ")
    assert "29.wav: silent" in caplog.messages[2]
    backwards = ClipDataset(clips, int, skip_unusable=True)
    assert [backwards[index]["labels"] for index in reversed(range(30))] == found[::-1], (
        "whatever came before"
    )
    with pytest.raises(DataError, match=r"4\.wav: silent"):
        ClipDataset(clips, int)[4]
    few = ClipDataset(clips[:19], int, skip_unusable=True)
    with pytest.raises(
        DataError, match=r"2 of 19 training clips cannot be used .*the last: .*4\.wav: silent"
    ):
        few[3]


def test_clips_beyond_the_memory_limit_give_the_same_samples(folder: Path) -> None:
    kept = check_folder(folder)
    # Train has 4 x (1,600 + 1,760 + 1,920 + 2,080) bytes. 6,399 bytes hold no clip, 14,000 hold two of train.
    for limit, counts in ((6_399, (0, 0)), (14_000, (2, 0)), (29_440, (4, 0)), (35_840, (4, 1))):
        some = check_folder(folder, FolderConfig(cache_limit_bytes=limit))
        assert tuple(sum(clip.keeps for clip in clips) for clips in some.splits.values()) == counts
        for split, clips in some.splits.items():
            for one, other in zip(kept.splits[split], clips, strict=True):
                assert one.samples is not None
                assert (other.samples is not None) == other.keeps
                np.testing.assert_array_equal(one.waveform(), other.waveform())
                assert (other.samples is not None) == other.keeps


def test_clips_of_a_big_corpus_are_decoded_once_and_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def read(path: Path, *given: object, **named: object) -> np.ndarray:
        decoded.append(path.name)
        return read_waveform(path, *given, **named)  # type: ignore[arg-type]

    dataset = ClipDataset(check_folder(folder, FolderConfig(decode_limit_clips=4)).splits["train"], len)
    assert [clip.samples is None for clip in dataset.clips] == [False, True, False, True]
    monkeypatch.setattr("prune_ssl.data.clips.read_waveform", read)
    items = [dataset[index] for index in range(4)] + [dataset[index] for index in range(4)]
    assert decoded == ["1.wav", "3.wav"]
    for index, item in enumerate(items[4:]):
        np.testing.assert_array_equal(item["input_values"], items[index]["input_values"])
        np.testing.assert_array_equal(item["input_values"], read_waveform(folder / "train" / f"{index}.wav"))


def test_a_worker_uses_kept_clips_and_keeps_none_of_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = check_folder(folder, FolderConfig(decode_limit_clips=4)).splits["train"]
    monkeypatch.setattr("prune_ssl.data.clips.get_worker_info", lambda: "a worker")
    found = [clip.waveform() for clip in clips]
    assert [clip.samples is waveform for clip, waveform in zip(clips, found, strict=True)] == [
        True,
        False,
        True,
        False,
    ]


def test_the_dataset_gives_samples_and_encoded_labels(folder: Path) -> None:
    opened = check_folder(folder)
    dataset = ClipDataset(opened.splits["train"], encode={"no": 0, "yes": 1}.__getitem__)
    assert len(dataset) == 4
    assert [dataset[index]["labels"] for index in range(4)] == [1, 1, 0, 0]
    assert dataset[3]["input_values"].shape == (2_080,)
    assert dataset.audio_seconds == pytest.approx(0.1 + 0.11 + 0.12 + 0.13)


def test_long_training_clips_give_random_pieces() -> None:
    samples = np.arange(1_600, dtype=np.float32)
    clips = [
        Clip(Path("long.wav"), "a", 0.1, samples=samples),
        Clip(Path("short.wav"), "a", 0.05, samples=samples[:800]),
    ]
    dataset = ClipDataset(clips, lambda _: 0, crop_seconds=0.0625)
    torch.manual_seed(0)
    pieces = [dataset[0]["input_values"] for _ in range(30)]
    assert all(len(piece) == 1_000 for piece in pieces)
    assert all(np.array_equal(piece, samples[int(piece[0]) :][:1_000]) for piece in pieces)
    assert len({float(piece[0]) for piece in pieces}) > 10
    assert np.array_equal(dataset[1]["input_values"], samples[:800])
    assert dataset.lengths == [1_000, 800]
