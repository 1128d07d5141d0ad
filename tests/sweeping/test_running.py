"""Sweeps: every cell run once, resumed, reported as a Pareto page and CSV that say what the reports say."""

import csv
import io
import json
import re

import pytest
import torch

from prune_ssl.errors import ArtifactError, RecipeError
from prune_ssl.pipeline import run
from prune_ssl.profiling import Timing
from prune_ssl.recipes import load_recipe
from prune_ssl.reporting import RunFacts, report
from prune_ssl.reporting.pareto import pareto_html
from prune_ssl.sweeping import Trial, attempts, point_of, sweep, trials
from prune_ssl.tracing import trace
from tests.support.cli import run_cli
from tests.support.models import tiny_model


def test_trials_are_all_combinations():
    found = trials(["50%", "params=40%"], ["gates", "iterative/taylor"], [0, 1])
    assert len(found) == 8
    assert found[1] == Trial("macs=50%", "iterative/taylor", 0)
    assert found[1].name == "iterative-taylor-macs-50-s0"
    assert len({trial.name for trial in found}) == 8


@pytest.mark.parametrize(
    ("budgets", "methods", "seeds"),
    [
        ("params=70%", "one_shot/magnitude", (0, 1)),
        pytest.param("80% params=70%", "gates one_shot/magnitude", (0, 1), marks=pytest.mark.slow),
    ],
)
def test_a_sweep_runs_each_cell_once_and_trains_one_dense_model_per_seed(
    recipe, tmp_path, budgets, methods, seeds
):
    out = tmp_path / "sweep"
    options = ["--budgets", budgets, "--methods", methods, *(f"--seeds={seed}" for seed in seeds)]
    count = len(budgets.split()) * len(methods.split()) * len(seeds)
    result = run_cli("sweep", recipe, "--out", out, *options)
    assert result.exit_code == 0, result.output
    assert f"{count} of {count} models" in result.output
    assert result.output.count("Training the dense model") == 2
    rows = list(csv.DictReader(io.StringIO((out / "pareto.csv").read_text())))
    assert len(rows) == count
    for row in rows:
        trial = Trial(row["budget"], row["method"], int(row["seed"]))
        report = json.loads((out / trial.name / "report.json").read_text())
        assert float(row["value"]) == report["results"]["recovered"]["accuracy"]
        name, percent = re.match(r"(\w+)=(\d+)%", row["budget"]).groups()
        assert float(row[f"{name}_kept"]) <= int(percent) / 100
    page = (out / "pareto.html").read_text()
    assert page.count('class="dot"') == 4 * count  # MACs, parameters, milliseconds, latency kept
    assert "iterative" not in page
    again = run_cli("sweep", recipe, "--out", out, *options)
    assert again.exit_code == 0
    assert "Pruning to" not in again.output
    next(out.glob("*-s1/report.json")).unlink()
    partly = run_cli("sweep", recipe, "--out", out, *options)
    assert partly.output.count("Pruning to") == 1
    assert f"{count} of {count} models" in partly.output


@pytest.mark.slow
def test_a_trial_that_fails_is_left_out_and_said(recipe, tmp_path, monkeypatch):
    loaded, said = load_recipe(recipe, ["dense=null"]), []
    cells = trials(["80%", "1%"], ["gates"], [0])
    points = sweep(loaded, cells, tmp_path / "sweep", said.append)
    assert [point.budget for point in points] == ["macs=80%"]
    assert any("failed: budget macs=1% cannot be met" in line for line in said)
    assert said[-1] == "left out, because they failed: gates-macs-1-s0"
    with pytest.raises(ArtifactError, match="no trial of the sweep has a result"):
        sweep(loaded, cells[1:], tmp_path / "other", said.append)
    calls = []
    monkeypatch.setattr(attempts, "run", lambda *a, **k: calls.append(k) or run(*a, **k))
    sweep(loaded, cells, tmp_path / "sweep", said.append)
    assert len(calls) == 1


def test_a_folder_takes_no_trials_of_other_settings(recipe, tmp_path, monkeypatch):
    def fails(*_args, **_settings):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(attempts, "run", fails)
    said, cells = [], trials(["80%"], ["gates"], [0])
    with pytest.raises(ArtifactError, match="no trial of the sweep has a result"):
        sweep(load_recipe(recipe), cells, tmp_path / "sweep", said.append)
    assert "failed: CUDA out of memory" in said
    other = load_recipe(recipe, ["pruning.steps=999", "pruning.budget=macs=30%", "seed=5"])
    with pytest.raises(ArtifactError, match=r"other settings \(pruning.steps differ\)"):
        sweep(other, cells, tmp_path / "sweep", said.append)


def test_a_machine_that_cannot_train_fails_each_trial_in_a_line(recipe, tmp_path, without_bfloat16):
    said = []
    with pytest.raises(ArtifactError, match="no trial of the sweep has a result"):
        sweep(
            load_recipe(recipe, ["bf16=true"]),
            trials(["80%", "70%"], ["gates"], [0]),
            tmp_path / "s",
            said.append,
        )
    assert sum("Set bf16=false" in line for line in said) == 2


def test_wrong_methods_are_refused_before_anything_runs(recipe, tmp_path):
    loaded = load_recipe(recipe)
    for method in ("gates/taylor", "magic"):
        with pytest.raises(RecipeError, match="method"):
            sweep(loaded, trials(["80%"], ["gates", method], [0]), tmp_path / "sweep")
    assert not list((tmp_path / "sweep").glob("*/"))


def test_a_point_says_at_which_length_its_macs_and_its_latency_are(tmp_path):
    dense = tiny_model(num_labels=2)
    quick = Timing(threads=1, min_iterations=3, min_seconds=0.0)
    told = {"results": {"cut": {"accuracy": 0.5}}, "facts": RunFacts(reference_seconds=0.2)}
    found = {}
    for name, seconds in (("same", (0.2, 0.5)), ("other", (0.5,))):
        path = tmp_path / f"{name}.json"
        made = report(dense, baseline=dense, timing=Timing.of(quick, seconds), **told).save(path)
        found[name] = point_of(made, "macs=50%", "gates", 0)
        assert found[name].seconds == 0.2
        assert found[name].macs == trace(dense).cost(seconds=0.2).macs
    assert (found["same"].latency_seconds, found["other"].latency_seconds) == (0.2, 0.5)
    page = pareto_html(list(found.values()), "A")
    assert "(0.2 s)" in page
    assert "(0.5 s)" in page
