"""CTC tokenizers: made ones spell all their texts; given ones are loaded, fitted to a case, or refused."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertTokenizer

from prune_ssl.errors import DataError, ModelError
from prune_ssl.tasks.tokenizers import (
    BLANK,
    SPACE,
    UNKNOWN,
    character_tokenizer,
    fitting_case,
    load_tokenizer,
    phoneme_tokenizer,
    plain,
)

LETTERS = st.text(st.sampled_from("abcdé'ß "), min_size=1, max_size=12).filter(str.strip)


@settings(max_examples=25)
@given(texts=st.lists(LETTERS, min_size=1, max_size=4))
def test_a_made_tokenizer_spells_its_texts_and_numbers_them_from_the_blank_on(texts: list[str]) -> None:
    tokenizer = character_tokenizer(texts)
    vocabulary = tokenizer.get_vocab()
    letters = sorted({letter for text in texts for letter in text} - {" "})
    assert [vocabulary[token] for token in (BLANK, UNKNOWN, SPACE, *letters)] == list(range(3 + len(letters)))
    assert len(vocabulary) == 3 + len(letters)
    for text in texts:
        indices = tokenizer(plain(text)).input_ids
        assert tokenizer.unk_token_id not in indices
        assert tokenizer.decode(indices, group_tokens=False) == plain(text)


def test_a_letter_that_train_does_not_have_is_unknown() -> None:
    tokenizer = character_tokenizer(["ab"])
    assert tokenizer("axb").input_ids == [3, tokenizer.unk_token_id, 4]
    assert tokenizer.pad_token_id == 0


def test_the_delimiter_in_a_text_is_refused() -> None:
    with pytest.raises(DataError, match=r"holds '\|', which stands for the space: remove it"):
        character_tokenizer(["a|b"])


def test_phonemes_are_units_of_several_letters() -> None:
    tokenizer = phoneme_tokenizer(["AH B", "B CH"])
    vocabulary = tokenizer.get_vocab()
    assert sorted(vocabulary, key=vocabulary.__getitem__) == [BLANK, UNKNOWN, "AH", "B", "CH"]
    assert tokenizer("AH CH B").input_ids == [2, 4, 3]
    assert tokenizer.decode([2, 4, 3]) == "AH CH B"


@pytest.mark.parametrize("make", [character_tokenizer, phoneme_tokenizer])
def test_a_saved_tokenizer_is_loaded_as_it_was(tmp_path: Path, make) -> None:
    tokenizer = make(["A B", "C"])
    tokenizer.save_pretrained(tmp_path)
    found = load_tokenizer(str(tmp_path))
    assert type(found) is type(tokenizer)
    assert found.get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize(
    ("texts", "case"),
    [
        (["AB", "BA"], "as it is"),
        (["ab", "ba"], "upper"),
        (["AB", "xy"], "as it is"),
        (["Ab", "aB"], "upper"),
    ],
)
def test_texts_take_the_case_of_the_tokenizer(texts: list[str], case: str) -> None:
    assert fitting_case(texts, character_tokenizer(["ABC"])) == case


def test_upper_case_texts_fit_a_lower_case_tokenizer() -> None:
    assert fitting_case(["AB C"], character_tokenizer(["abc"])) == "lower"


def test_what_is_no_tokenizer_of_ctc_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="empty: no tokenizer can be loaded from there"):
        load_tokenizer(str(tmp_path / "empty"))
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    with pytest.raises(ModelError, match="does not decode CTC: wanted a Wav2Vec2CTCTokenizer"):
        load_tokenizer(str(tmp_path / "bert"))


@given(text=st.text(max_size=30))
def test_plain_text_has_single_spaces(text: str) -> None:
    assert plain(text).split(" ") == text.split() or not text.split()
    assert plain(plain(text)) == plain(text)
