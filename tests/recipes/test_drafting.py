"""Drafts of recipes: the task, the phases and the keys that follow from a model and a corpus."""

import re
from dataclasses import replace

import pytest
import yaml

from prune_ssl.errors import BudgetError, RecipeError
from prune_ssl.recipes import make_recipe
from prune_ssl.recipes.drafting import Wishes, choose_task, draft_recipe
from prune_ssl.recipes.looking import CorpusLook, ModelLook

CTC = ModelLook("asr", "wav2vec2", "Wav2Vec2ForCTC", "ctc", (), 768, False)
BARE = ModelLook("org/base", "hubert", "HubertModel", "", (), 768, False)
WORDS = ModelLook(
    "words", "hubert", "HubertForSequenceClassification", "classification", ("a", "b"), 64, False
)


def corpus(**values):
    columns = {name: dict.fromkeys(found, 5) for name, found in values.items()}
    return CorpusLook("clips", {"train": 3_000, "test": 10}, columns, 1.234, 4.0, (16_000,))


def drafted(model, data, **wishes):
    return make_recipe(yaml.safe_load(draft_recipe(model, data, Wishes(**wishes))))


def test_a_trained_model_is_pruned_as_it_is():
    made = drafted(CTC, corpus(transcription=["ONE", "TWO"]))
    assert made.dense is None
    assert (made.task, made.data.target, made.data.group_by_length) == ("ctc", "transcription", True)
    assert (made.pruning.steps, made.pruning.seconds, made.batch_size) == (10_000, 1.2, 8)
    assert made.distillation.losses == {"logits": 1.0}


def test_a_bare_model_is_fine_tuned_first():
    made = drafted(BARE, corpus(label=["a", "b"]))
    assert (made.task, made.dense.steps) == ("classification", 2_800)


def test_a_classifier_with_other_labels_is_fine_tuned_first():
    assert drafted(WORDS, corpus(label=["a"])).dense is None
    text = draft_recipe(WORDS, corpus(label=["a", "c"]), Wishes())
    assert "its labels are not those of the corpus" in text


def test_a_corpus_without_labels_teaches_by_hidden_states():
    made = drafted(BARE, corpus())
    assert (made.task, made.dense, made.distillation.task_weight) == ("representation", None, 0)


def test_two_usual_tasks_are_no_choice():
    with pytest.raises(RecipeError, match="can feed classification and ctc: give --task"):
        choose_task(BARE, corpus(label=["a"], text=["b"]), Wishes())


def test_a_pruned_model_is_allowed_to_be_pruned_again():
    assert drafted(replace(CTC, pruned=True), corpus(text=["A"])).model.allow_pruned


def test_long_clips_are_bounded_and_columns_can_be_named():
    made = drafted(BARE, replace(corpus(mood=["x", "y"]), longest=30.0), task="classification", target="mood")
    assert (made.data.target, made.data.max_seconds, made.batch_size) == ("mood", 20, 8)


def test_a_budget_is_checked():
    with pytest.raises(BudgetError):
        draft_recipe(CTC, corpus(text=["A"]), Wishes(budget="macs=500%"))


@pytest.mark.parametrize("path", ["my clips: new", "007", "null", "1e5", "C:\\clips", "ä#b"])
def test_any_path_is_read_back_as_it_is(path):
    made = drafted(replace(CTC, name=path), replace(corpus(text=["A"]), path=path))
    assert (made.model.name, made.data.path) == (path, path)


def test_every_key_of_interest_has_a_comment():
    text = draft_recipe(CTC, corpus(text=["A"]), Wishes())
    for key in ("budget", "steps", "recovery", "seconds", "dense", "distillation", "batch_size"):
        assert re.search(rf"^ *{key}:.* # \w|^{key}: # \w", text, re.MULTILINE), key
