import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

from prune_ssl.data import (
    Augmentation,
    Clip,
    ClipDataset,
    FolderConfig,
    SpeechCollator,
    check_folder,
    read_waveform,
)
from prune_ssl.errors import DataError
from prune_ssl.tasks import Slots, TaskSettings
from tests.support.paths import ROOT

REAL_DATA = Path(os.environ.get("PRUNE_SSL_DATA", ROOT.parent / "shared" / "data"))


def tone(seconds: float = 0.1, rate: int = 16_000, hz: float = 440.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_metadata(
    folder: Path, rows: list[tuple[str, str]], header: tuple[str, ...] = ("file_name", "label")
) -> None:
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two labels, two clips each, in train and validation."""
    root = tmp_path / "words"
    for split in ("train", "validation"):
        (root / split).mkdir(parents=True)
        rows = []
        for index in range(4):
            name = f"{index}.wav"
            soundfile.write(root / split / name, tone(0.1 + 0.01 * index), 16_000)
            rows.append((name, "yes" if index < 2 else "no"))
        write_metadata(root / split, rows)
    return root


def truncated_flac(path: Path) -> None:
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 16_000), 16_000, format="FLAC")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_nan(path: Path) -> None:
    samples = tone()
    samples[7] = np.nan
    soundfile.write(path, samples, 16_000, subtype="FLOAT", format="WAV")


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty file": (lambda path: path.write_bytes(b""), "broken: the file is empty"),
    "text": (lambda path: path.write_text("not audio at all"), "broken: not readable as audio"),
    "truncated": (truncated_flac, "broken: "),
    "missing": (lambda path: path.unlink(), "no such file"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "no such file"),
    "zeros": (
        lambda path: soundfile.write(path, np.zeros(1_600), 16_000, format="WAV"),
        r"silent \(all samples are zero\)",
    ),
    "constant": (lambda path: soundfile.write(path, np.full(1_600, 0.5), 16_000, format="WAV"), "silent"),
    "opposite channels": (
        lambda path: soundfile.write(path, np.stack([tone(), -tone()], axis=1), 16_000, format="WAV"),
        "silent",
    ),
    "nan": (with_nan, r"NaN or infinite \(1 of 1600 samples\)"),
    "infinite": (
        lambda path: soundfile.write(path, np.full(1_600, np.inf), 16_000, subtype="FLOAT", format="WAV"),
        "NaN or infinite",
    ),
    "no samples": (
        lambda path: soundfile.write(path, np.zeros(0), 16_000, format="WAV"),
        r"too short \(0 samples",
    ),
    "short": (
        lambda path: soundfile.write(path, tone()[:399], 16_000, format="WAV"),
        r"too short \(399 samples, the model needs at least 400\)",
    ),
    "short after resampling": (
        lambda path: soundfile.write(path, tone()[:1_000], 48_000, format="WAV"),
        r"too short \(334 samples",
    ),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_clip_is_refused_with_its_name_and_the_reason(folder: Path, kind: str) -> None:
    spoil, words = BAD_FILES[kind]
    spoil(folder / "validation" / "2.wav")
    with pytest.raises(DataError, match=rf"1 of 8 clips can't be used:\n  validation/2\.wav: {words}"):
        check_folder(folder)


def test_many_bad_clips_make_one_error_with_ten_names_and_the_count(folder: Path) -> None:
    rows = [(f"gone_{index}.wav", "yes") for index in range(23)]
    write_metadata(folder / "train", rows)
    with pytest.raises(DataError) as caught:
        check_folder(folder)
    lines = str(caught.value).splitlines()
    assert "23 of 27 clips can't be used" in lines[0]
    assert sum("gone_" in line for line in lines) == 10
    assert lines[-2:] == ["  ... and 13 more", "Replace these files, or remove their rows from metadata.csv."]


def test_an_empty_target_or_file_name_is_refused(folder: Path) -> None:
    write_metadata(folder / "train", [("0.wav", "yes"), ("1.wav", " "), ("", "no")])
    with pytest.raises(
        DataError, match=r"(?s)2 of 7 clips.*train/1\.wav: its label .*a row has no file_name"
    ):
        check_folder(folder)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        check_folder(tmp_path / "nowhere")


def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "words.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match="not a folder"):
        check_folder(tmp_path / "words.zip")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the folder is empty: put train/metadata\.csv"):
        check_folder(tmp_path)


def test_a_missing_split_is_refused_and_the_found_ones_named(folder: Path) -> None:
    (folder / "validation").rename(folder / "valid")
    with pytest.raises(DataError, match=r"no folder validation/ in it \(found: train, valid\)"):
        check_folder(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no metadata.csv in it"),
        ("", "found an empty file; wanted file_name,label"),
        ("file,label\n0.wav,yes\n", "no column 'file_name': found file, label; wanted file_name,label"),
        ("file_name,text\n0.wav,yes\n", "no column 'label': found file_name, text"),
        ("file_name,label\n", "a header but no clips"),
        ('file_name,label\n"0.wav,yes\n', "not readable as CSV"),
    ],
)
def test_a_bad_metadata_file_is_refused(folder: Path, content: str | None, words: str) -> None:
    path = folder / "train" / "metadata.csv"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=words):
        check_folder(folder)


def test_metadata_that_is_not_utf8_is_refused(folder: Path) -> None:
    (folder / "train" / "metadata.csv").write_bytes(b"file_name,label\n0.wav,\xff\xfe\n")
    with pytest.raises(DataError, match="not readable as CSV in UTF-8"):
        check_folder(folder)


def test_a_label_that_train_does_not_have_is_refused(folder: Path) -> None:
    write_metadata(folder / "validation", [("0.wav", "yes"), ("1.wav", "maybe")])
    with pytest.raises(DataError, match="labels that train does not have: 'maybe'; train has 'no', 'yes'"):
        check_folder(folder)
    opened = check_folder(folder, FolderConfig(closed_labels=False))
    assert [clip.target for clip in opened.splits["validation"]] == ["yes", "maybe"]


def test_labels_stay_text(folder: Path) -> None:
    for split in ("train", "validation"):
        write_metadata(folder / split, [("0.wav", "007"), ("1.wav", "NA"), ("2.wav", "1.50")])
    assert check_folder(folder).labels == ("007", "1.50", "NA")


def test_stereo_and_other_rates_are_converted_with_a_note(folder: Path) -> None:
    stereo = np.stack([tone(), np.zeros(1_600, dtype=np.float32)], axis=1)
    soundfile.write(folder / "train" / "0.wav", stereo, 16_000)
    soundfile.write(folder / "train" / "1.wav", tone(0.1, rate=8_000), 8_000)
    soundfile.write(folder / "train" / "2.wav", tone(0.1, rate=44_100), 44_100)
    opened = check_folder(folder)
    assert opened.notes == (
        "1 clip at 8000 Hz resampled to 16000 Hz",
        "1 clip at 44100 Hz resampled to 16000 Hz",
        "1 clip with several channels averaged to mono",
    )
    waveforms = [clip.waveform() for clip in opened.splits["train"][:3]]
    assert [len(waveform) for waveform in waveforms] == [1_600] * 3
    np.testing.assert_allclose(waveforms[0], tone() / 2, atol=2**-15)
    # A tone survives resampling, away from the ends, where the filter lacks input.
    for waveform in waveforms[1:]:
        np.testing.assert_allclose(waveform[200:-200], tone()[200:-200], atol=5e-3)


def test_a_folder_without_anything_to_convert_has_no_notes(folder: Path) -> None:
    assert check_folder(folder).notes == ()


def test_audio_that_metadata_does_not_list_is_noted(folder: Path) -> None:
    soundfile.write(folder / "train" / "extra.wav", tone(), 16_000)
    assert check_folder(folder).notes == ("1 audio files under train/ are not in its metadata.csv: not used",)


def test_long_clips_are_cut_with_a_note(folder: Path) -> None:
    opened = check_folder(folder, FolderConfig(max_seconds=0.1))
    assert opened.notes == ("6 clips cut to the first 0.1 s",)
    assert {len(clip.waveform()) for clip in opened.splits["train"]} == {1_600}


def test_clips_with_transcripts_are_left_out_of_train_and_judged_whole(folder: Path) -> None:
    config = FolderConfig(max_seconds=0.115, whole_clips=True, closed_labels=False)
    opened = check_folder(folder, config)
    assert opened.notes == (
        "2 clips of train longer than 0.115 s left out: their label cannot be cut with them",
        "2 clips longer than 0.115 s judged whole",
    )
    assert [clip.path.name for clip in opened.splits["train"]] == ["0.wav", "1.wav"]
    whole = opened.splits["validation"]
    assert [len(clip.waveform()) for clip in whole] == [1_600, 1_760, 1_920, 2_080]
    assert [clip.seconds for clip in whole] == pytest.approx([0.1, 0.11, 0.12, 0.13])
    with pytest.raises(DataError, match=r"train: 4 clips, all longer than 0\.05 s, .*raise max_seconds"):
        check_folder(folder, FolderConfig(max_seconds=0.05, whole_clips=True))


def test_the_receptive_field_is_an_argument(folder: Path) -> None:
    assert len(check_folder(folder, FolderConfig(min_samples=1_600)).splits["train"]) == 4
    with pytest.raises(
        DataError, match=r"train/0\.wav: too short \(1600 samples, the model needs at least 1601\)"
    ):
        check_folder(folder, FolderConfig(min_samples=1_601))


def test_a_big_folder_is_checked_by_headers_and_read_later(folder: Path) -> None:
    soundfile.write(folder / "train" / "1.wav", np.zeros(1_600), 16_000)
    opened = check_folder(folder, FolderConfig(decode_limit_clips=4))
    assert opened.notes == ("8 clips: all headers were read, but only one clip in 2 of train was decoded",)
    clips = opened.splits["train"]
    assert all(clip.samples is None for clip in clips)
    np.testing.assert_allclose(clips[0].waveform(), tone(), atol=2**-15)
    with pytest.raises(DataError, match=r"1\.wav: silent"):
        clips[1].waveform()


def test_judged_clips_of_a_big_folder_are_all_decoded_first(folder: Path) -> None:
    soundfile.write(folder / "validation" / "1.wav", np.zeros(1_600), 16_000)
    with pytest.raises(DataError, match=r"1 of 8 clips can't be used:\n  validation/1\.wav: silent"):
        check_folder(folder, FolderConfig(decode_limit_clips=4))


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
    kept = check_folder(folder).splits["train"]
    dropped = check_folder(folder, FolderConfig(cache_limit_bytes=10_000)).splits["train"]
    assert all(clip.samples is not None for clip in kept)
    assert all(clip.samples is None for clip in dropped)
    for one, other in zip(kept, dropped, strict=True):
        np.testing.assert_array_equal(one.waveform(), other.waveform())


def test_progress_counts_every_clip(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    check_folder(folder, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(index, 8) for index in range(1, 9)]


@pytest.mark.parametrize("bad", [{"min_samples": 0}, {"required_splits": ("dev",)}])
def test_a_bad_folder_config_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(DataError, match="FolderConfig"):
        FolderConfig(**bad)  # type: ignore[arg-type]


def test_the_dataset_gives_samples_and_encoded_labels(folder: Path) -> None:
    opened = check_folder(folder)
    dataset = ClipDataset(opened.splits["train"], encode={"no": 0, "yes": 1}.__getitem__)
    assert len(dataset) == 4
    assert [dataset[index]["labels"] for index in range(4)] == [1, 1, 0, 0]
    assert dataset[3]["input_values"].shape == (2_080,)
    assert dataset.audio_seconds == pytest.approx(0.1 + 0.11 + 0.12 + 0.13)


def items(*lengths: int) -> list[dict[str, object]]:
    generator = np.random.default_rng(0)
    return [
        {"input_values": (3 + 0.1 * generator.standard_normal(length)).astype(np.float32), "labels": index}
        for index, length in enumerate(lengths)
    ]


def test_each_clip_is_normalized_by_its_own_samples() -> None:
    batch = SpeechCollator()(items(500, 900))
    assert set(batch) == {"input_values", "labels"}
    assert batch["input_values"].shape == (2, 900)
    assert batch["labels"].tolist() == [0, 1]
    short = batch["input_values"][0]
    assert torch.all(short[500:] == 0)
    assert short[:500].mean().abs() < 1e-4
    assert short[:500].std(correction=0) == pytest.approx(1.0, abs=1e-3)
    alone = SpeechCollator()(items(500))
    torch.testing.assert_close(short[:500], alone["input_values"][0], rtol=0, atol=0)


def test_the_feature_extractor_decides_on_normalization_and_mask() -> None:
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True)
    given = items(500, 900)
    batch = SpeechCollator(extractor)(given)
    np.testing.assert_array_equal(batch["input_values"][1].numpy(), given[1]["input_values"])
    assert batch["attention_mask"].sum(dim=1).tolist() == [500, 900]
    assert "attention_mask" not in SpeechCollator(extractor, attention_mask=False)(given)


def test_a_processor_gives_its_feature_extractor(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"<pad>": 0, "<unk>": 1, "a": 2, "|": 3}')
    tokenizer = Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"))
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True)
    collator = SpeechCollator(Wav2Vec2Processor(extractor, tokenizer))
    assert "attention_mask" in collator(items(500))


def test_a_feature_extractor_for_another_rate_is_refused() -> None:
    with pytest.raises(DataError, match="made for 8000 Hz and the clips are at 16000 Hz"):
        SpeechCollator(Wav2Vec2FeatureExtractor(sampling_rate=8_000))


def test_a_processor_of_another_kind_is_refused() -> None:
    with pytest.raises(DataError, match="a Wav2Vec2FeatureExtractor is wanted"):
        SpeechCollator(object())  # type: ignore[arg-type]


def test_augmentation_changes_a_copy_and_repeats_with_the_seed() -> None:
    samples = tone(0.5)
    before = samples.copy()
    augmentation = Augmentation()
    torch.manual_seed(3)
    first = [augmentation(samples) for _ in range(8)]
    torch.manual_seed(3)
    again = [augmentation(samples) for _ in range(8)]
    np.testing.assert_array_equal(samples, before)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == np.float32
        assert np.isfinite(one).all()
    assert len({len(one) for one in first}) > 1  # several speeds
    assert not np.array_equal(first[0], first[1])


def test_augmentation_adds_noise_at_the_asked_ratio() -> None:
    samples = tone(1.0)
    torch.manual_seed(0)
    quiet = Augmentation(
        speeds=(1.0,), max_shift_seconds=0, max_gain_db=0, noise_probability=1.0, snr_db=(20, 20)
    )
    noise = quiet(samples) - samples
    assert 10 * np.log10((samples**2).mean() / (noise**2).mean()) == pytest.approx(20, abs=0.1)


def test_augmentation_with_nothing_to_do_is_the_identity() -> None:
    still = Augmentation(speeds=(1.0,), max_shift_seconds=0, max_gain_db=0, noise_probability=0)
    np.testing.assert_array_equal(still(tone()), tone())


def test_a_shift_moves_samples_and_fills_with_zeros() -> None:
    shift = Augmentation(speeds=(1.0,), max_shift_seconds=0.01, max_gain_db=0, noise_probability=0)
    samples = np.arange(1, 1_601, dtype=np.float32)
    torch.manual_seed(1)
    for _ in range(10):
        moved = shift(samples)
        offset = int(moved.argmax()) - int(samples.argmax()) if moved[-1] < 1_600 else None
        kept = moved[moved > 0]
        assert 1_440 <= len(kept) <= 1_600
        assert np.all(np.diff(kept) == 1)  # one unbroken run of the original
        assert offset is None or offset <= 0


def test_a_negative_augmentation_bound_is_refused() -> None:
    with pytest.raises(DataError, match="max_gain_db: found -1, wanted 0 or more"):
        Augmentation(max_gain_db=-1)


@pytest.mark.parametrize(
    ("name", "counts", "labels"),
    [
        ("fsdd_digits", {"train": 800, "validation": 200, "test": 200}, 10),
        ("arabic_keywords", {"train": 648, "validation": 180, "test": 216}, 12),
    ],
)
def test_real_recordings_pass_the_check(name: str, counts: dict[str, int], labels: int) -> None:
    path = REAL_DATA / name
    if not path.is_dir():
        pytest.skip(f"no real recordings at {path}: set PRUNE_SSL_DATA to the folder that holds {name}/")
    opened = check_folder(path)
    assert {split: len(clips) for split, clips in opened.splits.items()} == counts
    assert len(opened.labels) == labels
    clip = opened.splits["test"][0]
    np.testing.assert_array_equal(clip.waveform(), read_waveform(clip.path))


def test_a_target_may_join_columns(folder: Path) -> None:
    for split in ("train", "validation"):
        rows = [("0.wav", "play", "music"), ("1.wav", "set", "alarm")]
        write_metadata(folder / split, rows, header=("file_name", "action", "scenario"))  # type: ignore[arg-type]
    opened = check_folder(folder, FolderConfig(target="scenario+action"))
    assert opened.labels == ("alarm_set", "music_play")
    with pytest.raises(DataError, match=r"no column 'intent': .*wanted file_name,scenario,intent"):
        check_folder(folder, FolderConfig(target="scenario+intent"))
    rows = [("0.wav", "play", "music"), ("1.wav", "", "alarm")]
    write_metadata(folder / "train", rows, header=("file_name", "action", "scenario"))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"train/1\.wav: its scenario\+action in metadata\.csv is empty"):
        check_folder(folder, FolderConfig(target="scenario+action"))


def test_a_slot_may_join_columns(folder: Path) -> None:
    for split in ("train", "validation"):
        rows = [("0.wav", "play", "music", "ann"), ("1.wav", "set", "alarm", "bob")]
        write_metadata(folder / split, rows, header=("file_name", "action", "scenario", "speaker"))  # type: ignore[arg-type]
    opened = check_folder(folder, FolderConfig(target="scenario+action|speaker"))
    assert opened.labels == ("alarm_set|bob", "music_play|ann")
    slots = Slots.from_folder(opened, settings=TaskSettings(target="scenario+action|speaker"))
    assert list(slots.segments) == ["scenario+action", "speaker"]
    assert slots.encode("music_play|ann") == [1, 0]


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
