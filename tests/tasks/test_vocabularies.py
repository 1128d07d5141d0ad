"""Files of a tokenizer that are damaged: refused before they misread a transcript."""

import json
from pathlib import Path
from typing import Any

import pytest

from prune_ssl.errors import ModelError
from prune_ssl.tasks.tokenizers import character_tokenizer, load_tokenizer

PLAIN = {"tokenizer_class": "Wav2Vec2CTCTokenizer", "bos_token": None, "eos_token": None}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    character_tokenizer(["ab c"]).save_pretrained(tmp_path)
    return tmp_path


def vocabulary(folder: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((folder / "vocab.json").read_text())
    return found


def test_a_whole_tokenizer_is_loaded(folder: Path) -> None:
    assert load_tokenizer(str(folder)).get_vocab() == vocabulary(folder)
    del (tokens := vocabulary(folder))["<pad>"]  # tokenizer_config.json still has it, with its id
    (folder / "vocab.json").write_text(json.dumps(tokens))
    assert load_tokenizer(str(folder)).pad_token_id == 0


CHANGES: dict[str, tuple[Any, str]] = {
    "one id twice": (lambda tokens: tokens | {"x": 3}, "a, x have the same id, 3"),
    "a gap": (lambda tokens: tokens | {"x": 9}, "no token has the id 6"),
    "text": (lambda tokens: tokens | {"x": "6"}, "the id of 'x' is '6', wanted 0, 1, 2"),
    "a float": (lambda tokens: tokens | {"x": 6.0}, r"the id of 'x' is 6\.0"),
    "true": (lambda tokens: tokens | {"x": True}, "the id of 'x' is True"),
    "negative": (lambda tokens: tokens | {"x": -1}, "the id of 'x' is -1"),
    "null": (lambda tokens: tokens | {"x": None}, "the id of 'x' is None"),
    "nothing": (lambda tokens: {}, "it has no tokens"),
    "a list": (lambda tokens: list(tokens), r"not the JSON object of a tokenizer \(a list\)"),
    "another order": (
        lambda tokens: {token: index for index, token in enumerate(reversed(tokens))},
        "contradict each other",
    ),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_damaged_vocabulary_is_refused(folder: Path, kind: str) -> None:
    change, words = CHANGES[kind]
    (folder / "vocab.json").write_text(json.dumps(change(vocabulary(folder))))
    with pytest.raises(ModelError, match=words) as caught:
        load_tokenizer(str(folder))
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "null", '"a"', "[" * 100_000, "\xff", '{"a": 0, "a": 5}'])
def test_what_is_no_object_of_tokens_is_refused(folder: Path, text: str) -> None:
    (folder / "vocab.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=r"vocab\.json"):
        load_tokenizer(str(folder))


@pytest.mark.parametrize("token", ["<pad>", "<unk>"])
def test_a_token_that_no_file_has_is_refused(folder: Path, token: str) -> None:
    tokens = [each for each in vocabulary(folder) if each != token]
    (folder / "vocab.json").write_text(json.dumps({each: index for index, each in enumerate(tokens)}))
    (folder / "tokenizer_config.json").write_text(json.dumps(PLAIN))
    with pytest.raises(ModelError, match=rf"vocab\.json: it lacks '{token}', the token for"):
        load_tokenizer(str(folder))


def test_a_vocabulary_for_each_language_is_checked_language_by_language(folder: Path) -> None:
    tokens = vocabulary(folder)
    config = PLAIN | {"target_lang": "eng"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "vocab.json").write_text(json.dumps({"eng": tokens, "fra": tokens}))
    assert load_tokenizer(str(folder)).pad_token_id == 0
    (folder / "vocab.json").write_text(json.dumps({"eng": tokens, "fra": tokens | {"x": 0}}))
    with pytest.raises(ModelError, match="have the same id of 'fra', 0"):
        load_tokenizer(str(folder))
