"""Recipes that only fine-tune: the run, its products, resuming it, and what such a recipe cannot do."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import prune_ssl
from prune_ssl.errors import RecipeError
from prune_ssl.pipeline import dry_run, plan_architecture, run
from prune_ssl.pipeline.running import trainer_for
from prune_ssl.pipeline.student import student_part
from prune_ssl.recipes import load_recipe, make_recipe
from prune_ssl.sweeping import Trial, sweep
from prune_ssl.training import ResumableTrainer
from tests.support.cli import run_cli

ALONE = ("pruning=null", "checkpoint_steps=1", "dense.steps=3")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.slow
def test_an_interrupted_fine_tuning_goes_on_and_ends_the_same(recipe, tmp_path, monkeypatch):
    assert run_cli("run", recipe, *ALONE, f"output={tmp_path}/whole").exit_code == 0
    plain = ResumableTrainer._save_checkpoint

    def stopping(self, *args):
        plain(self, *args)
        if self.state.global_step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ResumableTrainer, "_save_checkpoint", stopping)
        assert run_cli("run", recipe, *ALONE).exit_code == 130
    assert run_cli("run", recipe, *ALONE).exit_code == 2
    resumed = run_cli("run", recipe, "--resume", *ALONE)
    assert resumed.exit_code == 0, resumed.output
    made, whole = weights(tmp_path / "out/model"), weights(tmp_path / "whole/model")
    assert all(torch.equal(value, made[name]) for name, value in whole.items())
    again = run_cli("run", recipe, "--resume", *ALONE)
    assert "is finished, so there is nothing left to do" in again.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == ["dense", "model"]


def test_a_fine_tuned_model_is_reported_alone(recipe, tmp_path):
    outcome = run(load_recipe(recipe, ["pruning=null"]), say=lambda line: None)
    data = outcome.report.data
    assert (outcome.plan, data.baseline, data.made) == (None, None, "fine-tuned")
    assert list(data.results) == ["fine_tuned"]
    found = data.results["fine_tuned"]
    assert found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"]
    assert data.model.measurement.params == prune_ssl.trace(outcome.model).cost(seconds=1.0).params
    assert [latency.seconds for latency in data.model.measurement.latency] == [0.5]
    table = outcome.report.table()
    assert table.columns == ["", "model"]
    assert table.rows[0] == ["accuracy", f"{found['accuracy']:.1%}"]
    card = (outcome.model_folder / "README.md").read_text()
    assert "A model trained from scratch, fine-tuned with prune_ssl. Task: classification" in card
    assert "accuracy, after fine-tuning" in card
    assert "structured-pruning" not in card
    dense, made = weights(outcome.folder / "dense"), weights(outcome.model_folder)
    assert all(torch.equal(value, made[name]) for name, value in dense.items())
    listed = json.loads((outcome.folder / "finished.json").read_text())
    assert listed == {"models": ["model"], "reports": ["report.md", "report.html", "report.json"]}


@pytest.mark.slow
def test_a_pruned_model_can_be_fine_tuned_further_and_keeps_its_plan(recipe, tmp_path):
    first = run(load_recipe(recipe), say=lambda line: None)
    more = ["pruning=null", f"model.name={first.model_folder}", f"output={tmp_path}/more"]
    said: list[str] = []
    second = run(load_recipe(recipe, more), say=said.append)
    assert second.plan == first.plan
    assert second.report.data.model.measurement.params == first.report.data.model.measurement.params
    assert not any("before pruning" in line for line in said)
    before, after = weights(first.model_folder), weights(second.model_folder)
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_checks_without_training_find_no_budget(recipe):
    lines: list[str] = []
    graph = plan_architecture(load_recipe(recipe, ["pruning=null", "report.seconds=[2.0]"]), lines.append)
    assert len(lines) == 1
    dry_run(load_recipe(recipe, ["pruning=null"]), say=lines.append)
    assert lines[-1] == "Dry run: all checks passed, nothing was trained or written."
    assert not any("Budget" in line or "pruned" in line for line in lines)
    assert not (recipe.parent / "out").exists()
    assert lines[0].endswith(f"{graph.cost(seconds=2.0).macs:,} MACs at 2 s")


def test_such_a_recipe_has_nothing_to_prune_or_distil(recipe, tmp_path):
    loaded = load_recipe(recipe, ["pruning=null"])
    words = "tiny: the recipe only fine-tunes a model, so it has no `pruning`: give pruning="
    with pytest.raises(RecipeError, match=words):
        trainer_for(loaded, torch.nn.Linear(1, 1))
    with pytest.raises(RecipeError, match=words):
        sweep(loaded, [Trial("macs=50%", "gates", 0)], tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()
    result = run_cli("sweep", recipe, "pruning=null")
    assert result.exit_code == 2
    assert words in re.sub(r"\s+", " ", result.output)
    with pytest.raises(RecipeError, match="the recipe only fine-tunes a model, so it has no `student`"):
        student_part(loaded)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"dense": None}, "or `dense` alone .*, found none"),
        ({"distillation": {"losses": {"l1": 1.0}}}, "found neither: leave `distillation` out"),
        ({"task": "representation"}, "learns by `distillation`"),
    ],
)
def test_a_recipe_without_pruning_that_makes_no_sense_is_refused(more, words):
    alone = {"name": "x", "data": {"path": "c"}, "dense": {"steps": 1, "learning_rate": 1.0}}
    assert make_recipe(alone).only_fine_tunes
    with pytest.raises(RecipeError, match=words):
        make_recipe(alone | more)
