"""CTC tokenizers: make one from the texts of a corpus, or load one and fit it to the corpus's case."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import AutoTokenizer, Wav2Vec2CTCTokenizer, Wav2Vec2PhonemeCTCTokenizer

from prune_ssl.errors import DataError, ModelError
from prune_ssl.models.places import locate
from prune_ssl.tasks.vocabularies import check_vocabulary, require_tokens
from prune_ssl.writing import temporary_folder

Tokenizer = Wav2Vec2CTCTokenizer | Wav2Vec2PhonemeCTCTokenizer

BLANK, UNKNOWN, SPACE = "<pad>", "<unk>", "|"
"""The special tokens of wav2vec 2.0. Its padding token is the blank of CTC."""

CASES: dict[str, Callable[[str], str]] = {"as it is": str, "upper": str.upper, "lower": str.lower}
"""Functions that change the case of texts to that of a tokenizer, in order of preference."""


def plain(text: str) -> str:
    """Return the text with single spaces between its words."""
    return " ".join(text.split())


def character_tokenizer(texts: Iterable[str]) -> Wav2Vec2CTCTokenizer:
    """Make a tokenizer of the distinct characters of the texts, sorted, with `|` for the space.

    Raises:
        DataError: a text contains `|`.

    >>> character_tokenizer(["on", "no"]).get_vocab()
    {'<pad>': 0, '<unk>': 1, '|': 2, 'n': 3, 'o': 4}
    """
    characters = sorted({character for text in texts for character in plain(text)} - {" "})
    if SPACE in characters:
        raise DataError(f"a transcript of train holds {SPACE!r}, which stands for the space: remove it")
    # There are no tokens for begin and end of text, because CTC emits neither.
    options = {"bos_token": None, "eos_token": None, "unk_token": UNKNOWN, "pad_token": BLANK}
    with _vocabulary([BLANK, UNKNOWN, SPACE, *characters]) as folder:
        return Wav2Vec2CTCTokenizer(f"{folder}/vocab.json", word_delimiter_token=SPACE, **options)


def phoneme_tokenizer(texts: Iterable[str]) -> Wav2Vec2PhonemeCTCTokenizer:
    """Make a tokenizer of the distinct phonemes, sorted. In the texts a space separates phonemes.

    >>> phoneme_tokenizer(["n ow", "y eh s"]).get_vocab()
    {'<pad>': 0, '<unk>': 1, 'eh': 2, 'n': 3, 'ow': 4, 's': 5, 'y': 6}
    """
    phonemes = sorted({phoneme for text in texts for phoneme in text.split()})
    options = {"bos_token": None, "eos_token": None, "unk_token": UNKNOWN, "pad_token": BLANK}
    with _vocabulary([BLANK, UNKNOWN, *phonemes]) as folder:
        return Wav2Vec2PhonemeCTCTokenizer(
            f"{folder}/vocab.json",
            do_phonemize=False,
            phone_delimiter_token=" ",
            word_delimiter_token=None,
            **options,
        )


def load_tokenizer(name: str) -> Tokenizer:
    """Load a CTC tokenizer from a folder or the hub.

    Raises:
        ModelError: there is no tokenizer, it is not a CTC tokenizer, or its files are damaged.
    """
    check_vocabulary(Path(name))
    try:
        found: object = AutoTokenizer.from_pretrained(str(locate(name).folder), trust_remote_code=False)
    except Exception as error:  # transformers raises errors of every kind for a damaged file
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(
            f"{name}: no tokenizer can be loaded from there ({reason}): "
            "give a folder or hub name of a CTC model with vocab.json"
        ) from error
    if not isinstance(found, (Wav2Vec2CTCTokenizer, Wav2Vec2PhonemeCTCTokenizer)):
        raise ModelError(
            f"{name}: its tokenizer is a {type(found).__name__}, which does not decode CTC: "
            "wanted a Wav2Vec2CTCTokenizer"
        )
    roles = {found.pad_token: "the blank of CTC", found.unk_token: "unknown characters"}
    require_tokens(Path(name), found.encoder, found.get_vocab(), roles)
    return found


def fitting_case(texts: Collection[str], tokenizer: Tokenizer) -> str:
    """Return the key of CASES under which the tokenizer knows most characters of the texts."""
    known = set(tokenizer.get_vocab())
    return min(
        CASES,
        key=lambda case: sum(not {*CASES[case](text)} - {" "} <= known for text in texts),
    )


@contextmanager
def _vocabulary(tokens: list[str]) -> Iterator[Path]:
    """Yield a temporary folder with vocab.json, which the tokenizers read when they are made."""
    content = json.dumps({token: index for index, token in enumerate(tokens)}, ensure_ascii=False)
    with temporary_folder() as folder:
        (folder / "vocab.json").write_text(content, encoding="utf-8")
        yield folder
