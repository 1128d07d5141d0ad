"""Models that are fine-tuned already: dense training is left out, and their heads stay."""

import pytest
from transformers import Wav2Vec2FeatureExtractor

from prune_ssl.recipes import load_recipe
from tests.support.cli import run_cli
from tests.support.models import tiny_model
from tests.support.paths import ROOT


@pytest.fixture
def finetuned(tmp_path):
    """A classifier with the labels of the corpus, in an order of its own."""
    model = tiny_model(num_labels=2, id2label={0: "low", 1: "high"}, label2id={"low": 0, "high": 1})
    model.save_pretrained(tmp_path / "finetuned")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "finetuned")
    return tmp_path / "finetuned"


def test_dense_null_prunes_the_model_as_it_is(recipe, finetuned):
    named = f"model={{name: {finetuned}}}"
    checked = run_cli("run", recipe, named, "dense=null", "--dry-run")
    assert checked.exit_code == 0, checked.stderr
    assert "starts anew" not in checked.output
    assert "dense=null prunes it" not in " ".join(checked.output.split())


def test_more_dense_training_of_a_finetuned_model_is_said(recipe, finetuned):
    checked = run_cli("run", recipe, f"model={{name: {finetuned}}}", "--dry-run")
    assert checked.exit_code == 0, checked.stderr
    said = " ".join(checked.output.split())
    assert "has this task's head: it is trained for 2 more steps before pruning; dense=null prunes it" in said


def test_a_model_without_the_head_is_not_said_to_have_it(recipe):
    assert "has this task's head" not in run_cli("run", recipe, "--dry-run").output


@pytest.mark.parametrize(
    "given", ["dense.steps=0", "dense.steps=-1", "dense=0", "dense=none", "dense=false", "dense={}"]
)
def test_who_wants_no_dense_training_is_told_how(recipe, given):
    result = run_cli("run", recipe, given)
    assert result.exit_code == 2
    said = " ".join(result.stderr.split())
    assert "to prune a model that is already trained, leave dense out: dense=null" in said


def test_other_mistakes_in_dense_have_no_such_hint(recipe):
    assert "dense=null" not in run_cli("run", recipe, "dense.learning_rate=-1").stderr


@pytest.mark.parametrize("name", ["finetuned_ctc", "finetuned_classifier"])
def test_the_ready_recipes_say_it(name):
    path = ROOT / "recipes" / f"{name}.yaml"
    assert load_recipe(path).dense is None
    assert "dense: null" in path.read_text()
