"""Audio that a corpus lists twice is found again, under whatever name."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from prune_ssl.data import FolderConfig, check_folder, survey

SAME = {
    "absolute": lambda corpus: str(corpus / "train" / "a.wav"),
    "dots": lambda corpus: "../train/./a.wav",
    "symbolic link": lambda corpus: (corpus / "validation" / "l.wav").symlink_to(corpus / "train" / "a.wav"),
    "hard link": lambda corpus: os.link(corpus / "train" / "a.wav", corpus / "validation" / "l.wav"),
    "copy": lambda corpus: (corpus / "validation" / "l.wav").write_bytes(
        (corpus / "train" / "a.wav").read_bytes()
    ),
    "other container": lambda corpus: _as_flac(corpus),
    "two equal channels": lambda corpus: _as_stereo(corpus),
}


def _as_flac(corpus: Path) -> str:
    samples, rate = soundfile.read(corpus / "train" / "a.wav", dtype="int16")
    soundfile.write(corpus / "validation" / "l.flac", samples, rate)
    return "l.flac"


def _as_stereo(corpus: Path) -> str:
    samples, rate = soundfile.read(corpus / "train" / "a.wav", dtype="int16")
    soundfile.write(corpus / "validation" / "l.wav", np.stack([samples, samples], axis=1), rate)
    return "l.wav"


@pytest.mark.parametrize("kind", SAME)
def test_a_clip_of_train_is_known_again_in_validation(corpus: Path, kind: str) -> None:
    (corpus / "train" / "metadata.csv").write_text("file_name,label\na.wav,yes\nb.wav,yes\n")
    given = SAME[kind](corpus)
    name = given if isinstance(given, str) else "l.wav"
    (corpus / "validation" / "metadata.csv").write_text(f"file_name,label\nv.wav,yes\n{name},no\n")
    (finding,) = survey(corpus).of_kind("duplicated")
    assert "train/a.wav, with the label 'no' here and 'yes' there" in finding.words
    one_file = kind in ("absolute", "dots", "symbolic link", "hard link")
    assert finding.words.startswith("the same file as" if one_file else "the same audio as")
    notes = check_folder(corpus, FolderConfig(closed_labels=False)).notes
    assert any("1 of 2 clips of validation are in train too" in note for note in notes) == one_file


def test_a_file_listed_twice_with_two_labels_is_said(corpus: Path) -> None:
    (corpus / "train" / "metadata.csv").write_text("file_name,label\na.wav,yes\na.wav,no\nb.wav,no\n")
    (finding,) = survey(corpus).of_kind("duplicated")
    assert finding.words.endswith("with the label 'no' here and 'yes' there")
    notes = check_folder(corpus).notes
    assert "1 files of train are listed more than once, with different targets" in notes
