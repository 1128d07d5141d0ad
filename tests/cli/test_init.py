"""The command `init`: the recipe that it writes runs, it asks at a terminal, and it refuses wrong input."""

import pytest
from transformers import Wav2Vec2FeatureExtractor

from prune_ssl.recipes import load_recipe
from tests.support.cli import run_cli
from tests.support.models import tiny_model


@pytest.fixture
def classifier(tmp_path):
    model = tiny_model(num_labels=2, id2label={0: "low", 1: "high"}, label2id={"low": 0, "high": 1})
    model.save_pretrained(tmp_path / "tones")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "tones")
    return tmp_path / "tones"


def words_of(result) -> str:
    return " ".join(result.output.split())


def test_the_recipe_runs_in_a_few_steps(classifier, corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = run_cli("init", "--model", "tones", "--data", "corpus", "--budget", "70%")
    assert made.exit_code == 0, made.output
    said = words_of(made)
    assert "wrote tones_classification.yaml" in said
    assert "without fine-tuning it first" in said
    assert "next: prune-ssl run tones_classification.yaml --dry-run" in said
    recipe = load_recipe("tones_classification.yaml")
    assert (recipe.task, recipe.dense, recipe.pruning.budget) == ("classification", None, "macs=70%")
    assert recipe.pruning.seconds == 0.25
    few = ("pruning.steps=3", "report.iterations=3", "report.min_seconds=0", "pruning.round_to=2")
    result = run_cli(
        "run", "tones_classification.yaml", *few, "report.seconds=[0.5]", "checkpoint_steps=null"
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "runs" / "tones_classification-0" / "model" / "model.safetensors").is_file()


def test_at_a_terminal_it_asks(classifier, corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answers = iter(["tones", "corpus", "classification", "params=60%"])
    monkeypatch.setattr("prune_ssl.cli.init.at_terminal", lambda: True)
    monkeypatch.setattr("typer.prompt", lambda question, default=None: next(answers))
    assert run_cli("init", "--output", "mine.yaml").exit_code == 0
    assert load_recipe("mine.yaml").name == "mine"
    assert load_recipe("mine.yaml").pruning.budget == "params=60%"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"--model": None}, "init: give --model"),
        ({"--data": None}, "init: give --data"),
        ({"--model": "tonse"}, "Did you mean tones?"),
        ({"--model": "corpus"}, "corpus holds no config.json"),
        ({"--data": "nowhere"}, "nowhere: no such folder"),
        ({"--task": "ctc"}, "task ctc wants a column text or transcription"),
        ({"--task": "clasification"}, "did you mean 'classification'?"),
        ({"--task": "slots"}, "give --target, such as"),
        ({"--budget": "half"}, "cannot read 'half'"),
        ({"--output": "mine.txt"}, "its suffix is '.txt'"),
        ({"--output": "mine.yaml"}, "mine.yaml exists already"),
    ],
)
def test_wrong_input_is_refused(classifier, corpus, tmp_path, monkeypatch, given, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("mine")
    options = {"--model": "tones", "--data": "corpus"} | given
    result = run_cli("init", *(part for pair in options.items() if pair[1] for part in pair))
    assert result.exit_code == 2
    assert words in words_of(result)
    assert (tmp_path / "mine.yaml").read_text() == "mine"
