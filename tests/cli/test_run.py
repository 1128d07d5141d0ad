"""The command `run`: what it hands over, what it overwrites, what it refuses before any training."""

import json

import numpy as np
import pytest
import soundfile
import torch

import prune_ssl
from prune_ssl.recipes import load_recipe
from tests.support.cli import run_cli
from tests.support.models import tiny_model


def test_a_run_hands_over_model_plan_and_report(recipe, tmp_path):
    result = run_cli("run", recipe)
    assert result.exit_code == 0, result.output
    assert "1 clip at 8000 Hz resampled to 16000 Hz" in result.output
    for phase in ("dense:", "pruning:", "recovery:"):
        assert phase in result.stderr, f"no progress bar for {phase}"
    folder = tmp_path / "out"
    said = "".join(result.stdout.split())
    assert "Theprunedmodelkeeps" in said  # the answer in words
    assert said.endswith(f"prune-sslexport{folder}/model{folder}/onnx--toonnx")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"report.json", "report.md", "report.html", "recipe.yaml", "dense/model.safetensors"} <= names
    model_files = {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "pruning_plan.json",
        "report.json",
    }
    assert {f"model/{name}" for name in model_files} <= names
    small, dense = (prune_ssl.trace(prune_ssl.load_pretrained(folder / name)) for name in ("model", "dense"))
    assert small.cost(seconds=1.0).macs <= 0.7 * dense.cost(seconds=1.0).macs
    report = json.loads((folder / "report.json").read_text())
    assert set(report["results"]) == {"dense", "cut", "recovered"}
    assert load_recipe(folder / "recipe.yaml") == load_recipe(recipe)
    again = run_cli("run", recipe)
    assert again.exit_code == 2
    assert "exists already, so nothing was written" in again.output


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
@pytest.mark.parametrize("own", ["", "name: mine\ndata: {path: clips}\npruning: {}\n", "not: [a run"])
def test_overwriting_deletes_no_folder_that_no_run_wrote(recipe, tmp_path, more, own):
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years")
    if own:
        (folder / "recipe.yaml").write_text(own)
    result = run_cli("run", recipe, f"output={folder}", "--overwrite", *more)
    assert result.exit_code == 2
    assert "has no recipe.yaml of an earlier run" in result.output
    assert (folder / "thesis.txt").read_text() == "years"


@pytest.mark.slow
def test_overwriting_replaces_an_earlier_run_but_not_around_the_working_directory(
    recipe, tmp_path, monkeypatch
):
    assert run_cli("run", recipe, "dense=null").exit_code == 0
    for output in (".", ".."):
        monkeypatch.chdir(tmp_path / "out" / "model")
        result = run_cli("run", recipe, "dense=null", f"output={output}", "--overwrite")
        assert result.exit_code == 2
        assert "holds the working directory" in " ".join(result.output.split())
    monkeypatch.chdir(tmp_path)
    written = tmp_path / "out" / "recipe.yaml"
    written.write_text(written.read_text() + "key_of_another_version: 1\n")
    (tmp_path / "out" / "left.txt").write_text("old")
    assert run_cli("run", recipe, "dense=null", "--overwrite").exit_code == 0
    assert not (tmp_path / "out" / "left.txt").exists()


def test_a_dry_run_prints_the_budget_and_writes_nothing(recipe, tmp_path):
    result = run_cli("run", recipe, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "Budget macs=70%: keep at most" in result.output
    assert "reachable:" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("distillation={losses: {logit: 1.0}}", "there is no loss 'logit'; did you mean 'logits'"),
        ("distillation={losses: {l1: 1.0}, layers: [0, 9]}", "layer 9 is asked of a HubertModel"),
        ("distillation={losses: {l1: 1.0}, temprature: 2}", "did you mean 'temperature'"),
    ],
)
def test_a_distillation_that_cannot_be_is_refused_before_training(recipe, tmp_path, override, message):
    result = run_cli("run", recipe, override)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def break_corpus(corpus, how):
    clip = corpus / "train" / "2.wav"
    if how == "missing":
        return corpus / "nowhere"
    if how == "empty":
        (corpus / "hole").mkdir()
        return corpus / "hole"
    samples = np.zeros(8000)
    if how == "broken":
        clip.write_bytes(b"RIFF and nothing else")
        return corpus
    if how == "not a number":
        samples[5] = np.nan
    if how == "short":
        samples = np.ones(399) * np.linspace(-1, 1, 399)
    soundfile.write(clip, samples, 16_000, subtype="FLOAT")
    return corpus


def test_a_training_setting_that_no_model_can_have_is_refused(recipe, tmp_path):
    tiny_model().save_pretrained(tmp_path / "given")
    for start in ([f"model.name={tmp_path / 'given'}"], []):
        result = run_cli("run", recipe, *start, "model.config.hidden_dropout=much")
        assert result.exit_code == 2
        assert "Field 'hidden_dropout' expected float" in result.output


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "no such folder"),
        ("empty", "empty"),
        ("broken", "2.wav"),
        ("silent", "silent"),
        ("not a number", "2.wav"),
        ("short", "400"),
    ],
)
def test_bad_data_ends_a_run_with_one_message_before_training(recipe, tmp_path, corpus, how, message):
    result = run_cli("run", recipe, f"data.path={break_corpus(corpus, how)}")
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
    assert "Training" not in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pruning.budget=macs=0.01%", "Reachable:"),
        ("pruning.budget=half", "cannot read 'half'"),
        ("pruning.bugdet=macs=50%", "did you mean 'budget'"),
        ("model.name=/nowhere/at/all", "cannot read a model config"),
    ],
)
def test_a_bad_setting_ends_a_run_with_one_message_before_training(recipe, tmp_path, override, message):
    result = run_cli("run", recipe, override)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_pruned_model_is_refused_until_it_is_allowed(recipe, tmp_path):
    assert run_cli("run", recipe).exit_code == 0
    pruned = tmp_path / "out" / "model"
    overrides = [f"model.name={pruned}", "dense=null", f"output={tmp_path}/second", "pruning.round_to=1"]
    result = run_cli("run", recipe, *overrides)
    assert result.exit_code == 2
    assert "was pruned by prune_ssl already" in result.output
    result = run_cli("run", recipe, *overrides, "model.allow_pruned=true", "pruning.budget=macs=90%")
    assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_the_global_thread_count_is_left_alone(recipe):
    before = torch.get_num_threads()
    run_cli("run", recipe)
    assert torch.get_num_threads() == before
