"""The check of vocab.json: transformers reads a damaged one wrongly without an error."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from prune_ssl.data.files import is_file, shown
from prune_ssl.errors import ModelError

VOCABULARY_NAME = "vocab.json"
_MOST_BYTES = 1 << 26


def check_vocabulary(folder: Path) -> None:
    """Refuse a folder's vocab.json if an id is not a number, is missing, or appears twice.

    Raises:
        ModelError: vocab.json is refused, or it is not a JSON object.
    """
    path = folder / VOCABULARY_NAME
    if not is_file(path):
        return
    content = _object(path)
    nested = bool(content) and all(isinstance(each, dict) for each in content.values())  # one per language
    added = set(_added_tokens(folder).values())
    for language, vocabulary in content.items() if nested else [("", content)]:
        _check_ids(path, f" of {shown(language)!r}" if nested else "", vocabulary, added)


def require_tokens(folder: Path, own: dict[str, int], read: dict[str, int], wanted: dict[str, str]) -> None:
    """Refuse a loaded tokenizer if two tokens share an id, or if a special token stands in none of its files.

    Args:
        folder: The folder from which the tokenizer was loaded.
        own: The tokens in vocab.json, with their ids.
        read: All tokens of the loaded tokenizer, with their ids.
        wanted: The special tokens that a file must contain, with their roles. Transformers gives a missing
            one an id after all others, for which the model has no output.

    Raises:
        ModelError: the tokenizer is refused.
    """
    tokens: dict[int, str] = {}
    for token, number in read.items():
        other = tokens.setdefault(number, token)
        if other != token:
            raise ModelError(
                f"{folder}: {VOCABULARY_NAME} and tokenizer_config.json contradict each other: "
                f"{shown(other)!r} and {shown(token)!r} both have the id {number}: take both files from one "
                "model"
            )
    path = folder / VOCABULARY_NAME
    if not is_file(path):
        return
    known = own.keys() | _added_tokens(folder).keys()
    for token, role in wanted.items():
        if token not in known:
            raise ModelError(f"{path}: it lacks {shown(token)!r}, the token for {role}: add it")


def _check_ids(path: Path, whose: str, vocabulary: dict[str, Any], added: set[int]) -> None:
    for token, number in vocabulary.items():
        if type(number) is not int or number < 0:
            raise ModelError(
                f"{path}: the id{whose} of {shown(token)!r} is {shown(repr(number))}, wanted 0, 1, 2, ..."
            )
    if not vocabulary:
        raise ModelError(f"{path}: it has no tokens{whose}")
    ((number, count),) = Counter(vocabulary.values()).most_common(1)
    if count > 1:
        tokens = [token for token, each in vocabulary.items() if each == number]
        raise ModelError(
            f"{path}: {shown(', '.join(tokens))} have the same id{whose}, {number}: give each its own"
        )
    taken = set(vocabulary.values()) | added
    missing = next(number for number in range(len(taken) + 1) if number not in taken)
    if missing < max(vocabulary.values()):
        raise ModelError(
            f"{path}: no token{whose} has the id {missing}, and others have higher ones: wanted 0, 1, 2, ..."
        )


def _added_tokens(folder: Path) -> dict[str, int]:
    """Return the tokens and ids in the files beside vocab.json."""
    path, config = folder / "added_tokens.json", folder / "tokenizer_config.json"
    found = _object(path) if is_file(path) else {}
    decoder = _object(config).get("added_tokens_decoder") if is_file(config) else None
    try:
        found |= {str(each["content"]): int(number) for number, each in (decoder or {}).items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{config}: its added_tokens_decoder is not a table of ids and tokens") from error
    return {token: number for token, number in found.items() if isinstance(number, int)}


def _object(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"{path.stat().st_size / 2**20:.0f} MiB are too much")
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError(f"a {type(content).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not the JSON object of a tokenizer ({error})") from error
    return content
