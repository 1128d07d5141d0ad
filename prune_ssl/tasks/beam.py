"""CTC decoding by beam search with an n-gram language model (torchaudio's decoder: flashlight, KenLM).

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
"""The log probability of a forbidden token. Minus infinity would leave no path at all."""


@dataclass(frozen=True, kw_only=True)
class BeamSettings:
    """Settings of beam search.

    The search maximises log P(text | audio) + lm_weight * log10 P_LM(text) + word_score * (number of words).

    Raises:
        DataError: a value has a wrong type or is out of range.

    >>> BeamSettings(lm="words.arpa.gz", beam=100).lm_weight
    2.0
    """

    lm: str | Path
    """An n-gram model of words as ARPA text, which may be gzipped. KenLM's lmplz and SRILM write it, and
    openslr.org/11 has some. The decoder writes only words of this model."""
    beam: int = 50
    """The number of hypotheses kept from frame to frame."""
    beam_threshold: float = 50.0
    """A hypothesis is dropped if its score is lower than the best one by more than this."""
    lm_weight: float = 2.0
    """The weight of the language model."""
    word_score: float = 0.0
    """A score added for each word. A positive one favours more words."""

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
    """Beam search with a language model for one tokenizer. `make` reads the language model."""

    settings: BeamSettings
    words: frozenset[str]
    """The words that the decoder can write, in the tokenizer's letters."""
    left_out: int
    """The number of words of the language model that the tokenizer cannot spell."""
    space: int
    """The index of the token between words."""
    tokens: int
    """The number of tokens. A model's head may have more outputs, which the decoder ignores."""
    _search: Callable[[torch.Tensor], str] = field(repr=False, compare=False)

    @classmethod
    def make(cls, settings: BeamSettings, tokenizer: Tokenizer) -> BeamDecoder:
        """Read the language model and spell its words with the tokenizer.

        Raises:
            PruneError: the extra `lm` is not installed.
            DataError: the file is missing or not an ARPA model, or the tokenizer cannot spell its words.
        """
        build = _decoder_factory()
        space = tokenizer.word_delimiter_token
        if space is None:
            raise DataError(
                "decoding: the tokenizer has no token for the space between words, so a language model of "
                "words cannot be used: leave `decoding` out"
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
            except RuntimeError as error:  # KenLM raises it
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
        """Return the best text for the logits (T, V) of one clip."""
        scores = torch.from_numpy(np.asarray(logits, dtype=np.float32)).log_softmax(-1)[:, : self.tokens]
        scores = torch.nn.functional.pad(scores, (0, self.tokens - scores.shape[1]), value=_NEVER)
        # In the lexicon each word ends with the space, which no model emits after the last word. Add it.
        end = torch.full((1, scores.shape[-1]), _NEVER)
        end[0, self.space] = 0.0
        return self._search(torch.cat([scores, end])[None].contiguous())


class Word(Protocol):
    """A hypothesis of torchaudio's decoder."""

    words: list[str]
    """The words of its text."""


class Decoder(Protocol):
    """torchaudio's decoder."""

    def __call__(self, scores: torch.Tensor) -> list[list[Word]]:
        """Return the best hypotheses of each clip."""
        ...


@dataclass(frozen=True)
class _Search:
    """torchaudio's decoder, and the spelling of its words."""

    decoder: Decoder
    spelled: dict[str, str]

    def __call__(self, scores: torch.Tensor) -> str:
        (found,) = self.decoder(scores)
        return " ".join(self.spelled[word] for word in found[0].words) if found else ""


def _decoder_factory() -> Callable[..., Decoder]:
    try:
        from torchaudio.models.decoder import ctc_decoder
    except (ImportError, RuntimeError) as error:  # torchaudio raises RuntimeError if flashlight is missing
        raise PruneError(
            "beam search with a language model needs flashlight-text: pip install 'prune_ssl[lm]' "
            f"({str(error).splitlines()[0]})"
        ) from error
    build: Callable[..., Decoder] = ctc_decoder
    return build


def _some(words: list[str]) -> str:
    return ", ".join(words[:5]) + (", ..." if len(words) > 5 else "")
