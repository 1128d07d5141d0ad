"""Looks at models and corpora: heads, labels, columns, and what cannot be looked at."""

import json

import pytest

from prune_ssl.errors import DataError, ModelError
from prune_ssl.recipes.looking import look_at_corpus, look_at_model, shown_values


def config(folder, **fields):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(fields))
    return str(folder)


def test_a_pruned_phoneme_recogniser(tmp_path):
    name = config(tmp_path, model_type="pruned_hubert", architectures=["PrunedHubertForCTC"], hidden_size=32)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "Wav2Vec2PhonemeCTCTokenizer"}')
    found = look_at_model(name)
    assert (found.family, found.task, found.pruned, found.width) == ("hubert", "phonemes", True, 32)


@pytest.mark.parametrize("head", ["HubertModel", "Wav2Vec2ForPreTraining"])
def test_a_model_without_a_task(tmp_path, head):
    found = look_at_model(config(tmp_path, model_type="hubert", architectures=[head]))
    assert (found.task, found.labels) == ("", ())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "holds no config.json"),
        ("{", "names no model_type"),
        ("[]", "names no model_type"),
        ('{"model_type": "llama"}', "is a 'llama', which cannot be pruned; wanted"),
    ],
)
def test_what_is_no_speech_model_is_refused(tmp_path, text, words):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError, match=words):
        look_at_model(str(tmp_path))


def test_a_corpus_is_looked_at_whatever_the_case_of_its_columns(corpus):
    table = corpus / "train" / "metadata.csv"
    table.write_text(table.read_text().replace("label", "Label,text"))
    found = look_at_corpus(corpus)
    assert found.tasks == ("classification", "representation")  # the column text is empty
    assert found.values["label"] == {"low": 4, "high": 4}
    assert found.rates == (8_000, 16_000)
    assert found.clips == {"train": 8, "validation": 4, "test": 4}


def test_a_corpus_of_broken_clips_is_refused(corpus):
    for clip in (corpus / "train").glob("*.wav"):
        clip.write_bytes(b"RIFF")
    with pytest.raises(DataError, match="doctor data"):
        look_at_corpus(corpus)


def test_many_values_are_shown_by_a_few():
    assert shown_values({str(n): 10 - n for n in range(8)}) == (
        "8 different: 0 (10), 1 (9), 2 (8), 3 (7), ..., 7 (3)"
    )
    assert shown_values(dict.fromkeys("abcdefgh", 1)) == "8 different"
