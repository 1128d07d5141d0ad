"""Folders of clips in splits: what is read, what is noted and what is refused before any training."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from prune_ssl.data import FolderConfig, check_folder, read_waveform
from prune_ssl.errors import DataError
from tests.support.folders import tone, write_metadata
from tests.support.paths import ROOT

REAL_DATA = Path(os.environ.get("PRUNE_SSL_DATA", ROOT.parent / "shared" / "data"))


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
    assert [clip.samples is None for clip in clips] == [False, True, False, True]
    np.testing.assert_allclose(clips[0].waveform(), tone(), atol=2**-15)
    with pytest.raises(DataError, match=r"1\.wav: silent"):
        clips[1].waveform()


def test_judged_clips_of_a_big_folder_are_all_decoded_first(folder: Path) -> None:
    soundfile.write(folder / "validation" / "1.wav", np.zeros(1_600), 16_000)
    with pytest.raises(DataError, match=r"1 of 8 clips can't be used:\n  validation/1\.wav: silent"):
        check_folder(folder, FolderConfig(decode_limit_clips=4))


def test_splits_that_are_not_checked_are_only_listed(folder: Path) -> None:
    for path in (folder / "train").glob("*.wav"):
        path.write_bytes(b"")
    opened = check_folder(folder, FolderConfig(checked=("validation",)))
    assert opened.labels == ("no", "yes")
    assert {clip.seconds for clip in opened.splits["train"]} == {0.0}
    assert all(clip.samples is not None for clip in opened.splits["validation"])
    with pytest.raises(DataError, match="checked: found 'dev', wanted some of train, validation, test"):
        FolderConfig(checked=("dev",))


def test_progress_counts_every_clip(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    check_folder(folder, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(index, 8) for index in range(1, 9)]


@pytest.mark.parametrize(
    "bad", [{"min_samples": 0}, {"cache_limit_bytes": -1}, {"required_splits": ("dev",)}]
)
def test_a_bad_folder_config_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(DataError, match="FolderConfig"):
        FolderConfig(**bad)  # type: ignore[arg-type]


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
