"""Pronunciation lexicons: from the words of transcripts to phonemes, for corpora without phonemes.

LibriSpeech comes with transcripts only. SUPERB's phoneme recognition looks its words up in a lexicon.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prune_ssl.data.clips import Clip
from prune_ssl.data.files import numbered_lines, read_text
from prune_ssl.data.folders import SpeechFolder
from prune_ssl.errors import DataError

COMMENT = ";;;"
"""The start of comments in CMUdict."""


@dataclass(frozen=True)
class Lexicon:
    r"""The first pronunciation of each word.

    >>> _ = Path("lexicon.txt").write_text("NO  N OW1\nYES\tY EH1 S\nYES  Y AH1 S\n")
    >>> Lexicon.of(Path("lexicon.txt")).phonemes("yes no")
    'Y EH1 S N OW1'
    """

    path: Path
    words: Mapping[str, str]
    """Upper-case word -> phonemes, with spaces between them."""

    @classmethod
    def of(cls, path: Path) -> Lexicon:
        """Read lines of a word and its phonemes, such as those of LibriSpeech's lexicon and of CMUdict.

        Raises:
            DataError: the file cannot be read, has no words, or a word has no phonemes.
        """
        words: dict[str, str] = {}
        for number, line in numbered_lines(read_text(path, "a lexicon")):
            if line.startswith(COMMENT):
                continue
            word, *phonemes = line.split()
            if not phonemes:
                raise DataError(f"{path}: line {number} has the word {word!r:.60} without phonemes")
            words.setdefault(word.upper(), " ".join(phonemes))
        if not words:
            raise DataError(f"{path}: no words: give lines such as `YES Y EH1 S`")
        return cls(path, words)

    def unknown(self, text: str) -> list[str]:
        """Return the words of a transcript that the lexicon lacks."""
        return [word for word in text.split() if word.upper() not in self.words]

    def phonemes(self, text: str) -> str:
        """Return the phonemes of a transcript, with spaces between them.

        Raises:
            DataError: the lexicon lacks a word.
        """
        lacking = self.unknown(text)
        if lacking:
            raise DataError(f"{self.path}: no pronunciation of {lacking[0]!r:.60}")
        return " ".join(self.words[word.upper()] for word in text.split())

    def spoken(self, folder: SpeechFolder) -> SpeechFolder:
        """Return a corpus whose targets are the phonemes of its transcripts.

        Clips of train with a word that the lexicon lacks are left out, with a note.

        Raises:
            DataError: the lexicon lacks words of another split, or of all clips of train.
        """
        splits, left_out = dict[str, tuple[Clip, ...]](), 0
        for split, clips in folder.splits.items():
            known = [clip for clip in clips if not self.unknown(clip.target)]
            if len(known) < len(clips) and (split != "train" or not known):
                raise DataError(self._lacks(split, clips))
            left_out += len(clips) - len(known)
            splits[split] = tuple(replace(clip, target=self.phonemes(clip.target)) for clip in known)
        note = f"{left_out} clips of train with words that {self.path.name} lacks left out"
        return replace(folder, splits=splits, notes=(*folder.notes, *[note] * bool(left_out)))

    def _lacks(self, split: str, clips: Sequence[Clip]) -> str:
        lacking = sorted({word for clip in clips for word in self.unknown(clip.target)})
        return (
            f"{self.path}: no pronunciation of {len(lacking)} words of {split}, such as "
            f"{', '.join(lacking[:5])}: add them"
        )
