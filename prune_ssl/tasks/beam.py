"""Owns CTC decoding by beam search with an n-gram language model (torchaudio's decoder: flashlight, KenLM).

Letters: T frames, V tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from prune_ssl.errors import DataError, PruneError
from prune_ssl.models.arguments import check_types
from prune_ssl.tasks.arpa import read_words
from prune_ssl.tasks.tokenizers import CASES, Tokenizer, fitting_case
from prune_ssl.writing import temporary_folder

_NEVER = -1e4
"""The log probability of what must not happen; minus infinity would leave no path at all."""


@dataclass(frozen=True, kw_only=True)
class BeamSettings:
    """How to search: max over texts of log P(text | audio) + lm_weight log10 P_LM(text) + word_score words.

    Raises:
        DataError: a value of a wrong type or out of range.
    """

    lm: str | Path
    """An n-gram model of words as ARPA text, perhaps gzipped, as lmplz of KenLM, SRILM or openslr.org/11
    have it. Only its words can be written."""
    beam: int = 50
    """Hypotheses that are kept from frame to frame."""
    beam_threshold: float = 50.0
    """Those that score less than the best one by more than this are dropped."""
    lm_weight: float = 2.0
    word_score: float = 0.0

    def __post_init__(self) -> None:
        check_types(self, DataError)
        for name, holds, wanted in (
            ("beam", self.beam >= 1, "1 or more"),
            ("beam_threshold", self.beam_threshold > 0, "a number above 0"),
            ("lm_weight", self.lm_weight >= 0, "0 or more"),
        ):
            if not holds:
                raise DataError(f"{name}: found {getattr(self, name)}, wanted {wanted}.")


@dataclass(frozen=True)
class BeamDecoder:
    """Beam search for the frames of one tokenizer; `make` reads the language model."""

    settings: BeamSettings
    words: frozenset[str]
    """What it can write, in the tokenizer's letters."""
    left_out: int
    """Words of the language model that the tokenizer cannot spell."""
    space: int
    """Index of the token between words."""
    tokens: int
    """Of the tokenizer; a model's head may have more outputs, which no text is written with."""
    _search: Callable[[torch.Tensor], str] = field(repr=False, compare=False)

    @classmethod
    def make(cls, settings: BeamSettings, tokenizer: Tokenizer) -> BeamDecoder:
        """Read the language model and spell its words with the tokenizer.

        Raises:
            PruneError: the extra `lm` is not installed.
            DataError: the file is missing or no ARPA model, or its words and the tokenizer do not match.
        """
        build = _decoder_factory()
        space = tokenizer.word_delimiter_token
        if space is None:
            raise DataError(
                "decoding: the tokenizer has no token for the space between words, so a model of words "
                "cannot guide it: leave `decoding` out"
            )
        read = read_words(Path(settings.lm))
        case = fitting_case(read, tokenizer)
        known = set(tokenizer.get_vocab()) - {space, *tokenizer.all_special_tokens}
        spelled = {word: CASES[case](word) for word in read}
        lexicon = {word: letters for word, letters in spelled.items() if set(letters) <= known}
        if not lexicon:
            raise DataError(
                f"{settings.lm}: none of its {len(read)} words ({_some(read)}) can be spelled with the "
                f"tokenizer's tokens ({_some(sorted(known))}): give a model of words in these letters"
            )
        tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        with temporary_folder() as folder:
            path = folder / "lexicon.txt"
            lines = [f"{word} {' '.join(letters)} {space}" for word, letters in lexicon.items()]
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            try:
                search = build(
                    lexicon=str(path),
                    tokens=tokens,
                    lm=str(settings.lm),
                    beam_size=settings.beam,
                    beam_threshold=settings.beam_threshold,
                    lm_weight=settings.lm_weight,
                    word_score=settings.word_score,
                    blank_token=tokenizer.pad_token,
                    sil_token=space,
                )
            except RuntimeError as error:  # of KenLM
                reason = " ".join(str(error).rpartition(" threw ")[2].split())
                raise DataError(
                    f"{settings.lm}: broken: KenLM does not read it as ARPA ({reason})"
                ) from error
        return cls(
            settings,
            frozenset(lexicon.values()),
            len(read) - len(lexicon),
            tokens.index(space),
            len(tokens),
            _Search(search, spelled),
        )

    def decode(self, logits: npt.NDArray[np.float32]) -> str:
        """The best text for the logits (T, V) of one clip."""
        scores = torch.from_numpy(np.asarray(logits, dtype=np.float32)).log_softmax(-1)[:, : self.tokens]
        scores = torch.nn.functional.pad(scores, (0, self.tokens - scores.shape[1]), value=_NEVER)
        # A word ends with the token of the space, which no model says after the last one: it comes for free.
        end = torch.full((1, scores.shape[-1]), _NEVER)
        end[0, self.space] = 0.0
        return self._search(torch.cat([scores, end])[None].contiguous())


class Word(Protocol):
    """A hypothesis of torchaudio's decoder."""

    words: list[str]


class Decoder(Protocol):
    """torchaudio's decoder."""

    def __call__(self, scores: torch.Tensor) -> list[list[Word]]:
        """Return the best hypotheses of each clip."""
        ...


@dataclass(frozen=True)
class _Search:
    """torchaudio's decoder, and how its words are written."""

    decoder: Decoder
    spelled: dict[str, str]

    def __call__(self, scores: torch.Tensor) -> str:
        (found,) = self.decoder(scores)
        return " ".join(self.spelled[word] for word in found[0].words) if found else ""


def _decoder_factory() -> Callable[..., Decoder]:
    try:
        from torchaudio.models.decoder import ctc_decoder
    except (ImportError, RuntimeError) as error:  # torchaudio says RuntimeError where flashlight is missing
        raise PruneError(
            "beam search with a language model needs flashlight-text: pip install 'prune_ssl[lm]' "
            f"({str(error).splitlines()[0]})"
        ) from error
    build: Callable[..., Decoder] = ctc_decoder
    return build


def _some(words: list[str]) -> str:
    return ", ".join(words[:5]) + (", ..." if len(words) > 5 else "")
