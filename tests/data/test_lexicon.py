"""Lexicons: phonemes for corpora that have transcripts only, such as LibriSpeech as it is unpacked."""

from pathlib import Path

import pytest

from prune_ssl.data import Clip, Lexicon, SpeechFolder
from prune_ssl.errors import DataError


def folder(**texts: list[str]) -> SpeechFolder:
    splits = {
        split: tuple(Clip(Path(f"{split}{n}"), text, 1.0) for n, text in enumerate(given))
        for split, given in texts.items()
    }
    return SpeechFolder(Path("corpus"), splits, ())


@pytest.fixture
def lexicon(tmp_path: Path) -> Lexicon:
    path = tmp_path / "lexicon.txt"
    path.write_text(";;; a comment\nYES  Y EH1 S\nYES Y AH1 S\nNO\tN OW1\n")
    return Lexicon.of(path)


def test_transcripts_become_phonemes_and_train_clips_with_other_words_are_left_out(lexicon) -> None:
    found = lexicon.spoken(folder(train=["yes no", "maybe", "NO"], validation=["no"]))
    assert [clip.target for clip in found.splits["train"]] == ["Y EH1 S N OW1", "N OW1"]
    assert [clip.target for clip in found.splits["validation"]] == ["N OW1"]
    assert found.notes == ("1 clips of train with words that lexicon.txt lacks left out",)


def test_judged_clips_with_other_words_are_refused(lexicon) -> None:
    with pytest.raises(DataError, match="no pronunciation of 2 words of validation, such as maybe, never"):
        lexicon.spoken(folder(train=["yes"], validation=["maybe never"]))
    with pytest.raises(DataError, match="no pronunciation of 1 words of train"):
        lexicon.spoken(folder(train=["maybe"], validation=["yes"]))
    with pytest.raises(DataError, match="no pronunciation of 'maybe'"):
        lexicon.phonemes("yes maybe")


@pytest.mark.parametrize(
    ("text", "message"), [("", "no words"), ("YES", "line 1 has the word 'YES' without phonemes")]
)
def test_a_file_without_pronunciations_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        Lexicon.of(tmp_path / "x.txt")
