"""The recipes of the repository: each parses, fits its full-size architecture, and runs in small."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from typer.testing import CliRunner

import prune_ssl
from prune_ssl.cli.app import app
from prune_ssl.pipeline import plan_architecture, run
from prune_ssl.recipes import load_recipe, pruning_part
from prune_ssl.recipes.catalogue import BEGIN, END, load_all, markdown_table, with_table
from prune_ssl.recipes.smoke import smoke_version
from prune_ssl.selection import parse_budget
from prune_ssl.tasks import Task, task_class
from tests.support.paths import ROOT
from tests.support.slow import slow_but

DIFFERS = "# Differs from the paper:"
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_parses_and_explains_itself(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    assert "-" not in (recipe.about.data, recipe.about.method, recipe.about.needs)
    text = path.read_text()
    assert text.startswith("#")
    assert f"prune-ssl run recipes/{path.name} data.path=" in text
    assert len(text.splitlines()) <= 60  # one screen
    steps = max(part.steps for part in (recipe.dense, recipe.pruning, recipe.student) if part is not None)
    assert recipe.checkpoint_steps is not None or steps < 5_000, "a run of hours must survive a kill"


PRUNING = [path for path in RECIPES if load_recipe(path).pruning is not None]
STUDENTS = {
    "distilhubert": 23_491_200,
    "star_hubert": 22_308_592,
    "star_hubert_l": 26_626_672,
    "armhubert": 22_015_552,  # published with its heads, 26,448,448
    "armwavlm_s": 18_403_552,  # published with its heads, 22,394,080
    "maskhubert": 22_202_944,
    "robust_hubert": 23_491_200,
    # DistilHuBERT's size, the norm of the projection, the mask embedding, and what WavLM has more: layer 0's
    # table of relative positions, 320 * 12, and each layer's gate, 64 * 8 + 8 + 12.
    "robust_wavlm": 23_491_200 + 2 * 512 + 768 + 320 * 12 + 2 * (64 * 8 + 8 + 12),
    "robust_wav2vec2": 23_491_200 + 2 * 512 + 768,
    "kd_wav2vec2": 23_491_200 + 2 * 512 + 768,
    "kd_wavlm": 23_491_200 + 2 * 512 + 768 + 320 * 12 + 2 * (64 * 8 + 8 + 12),
    # `--architecture` knows no pruned model: the count of WavLM Base (methods 1.1).
    "robust_dpwavlm": 94_371_712 + 320 * 12 + 12 * (64 * 8 + 8 + 12),
}
"""Parameters of the students (methods 5, 6.1, 7), without heads and projections of the training."""


@pytest.mark.parametrize("path", PRUNING, ids=lambda path: path.stem)
def test_a_pruning_recipe_fits_its_full_size_architecture(path: Path) -> None:
    recipe, lines = load_recipe(path), []
    graph = plan_architecture(recipe, lines.append)
    seconds = recipe.reference_seconds
    cost = graph.cost(seconds=seconds)
    assert lines[0].endswith(f"{cost.params:,} parameters, {cost.macs:,} MACs at {seconds:g} s")
    budget = parse_budget(pruning_part(recipe).budget)
    assert len(lines) == 1 + len(budget)
    for line, constraint in zip(lines[1:], budget, strict=True):
        assert line.startswith(f"Budget {constraint}: keep at most ")
        assert "reachable: " in line
    if recipe.model.name in ("facebook/wav2vec2-base", "facebook/hubert-base-ls960"):
        # The bare Base model (methods 1.1), and a head.
        assert sum(cost.by_section[name].params for name in cost.by_section if name != "head") == 94_371_712


@pytest.mark.parametrize(
    "path", [path for path in RECIPES if load_recipe(path).student is not None], ids=lambda path: path.stem
)
def test_a_student_of_a_recipe_has_the_size_of_its_paper(path: Path) -> None:
    recipe, lines = load_recipe(path), []
    graph = plan_architecture(recipe, lines.append)
    cost = graph.cost(seconds=recipe.reference_seconds)
    if path.stem in STUDENTS:
        assert cost.params == STUDENTS[path.stem]
    else:  # its teacher is a model of this repository
        assert path.stem == "kd_small"
    assert len(lines) == 2
    assert f"{cost.params:,} parameters, {cost.macs:,} MACs at 10 s (" in lines[1]


@pytest.mark.parametrize(
    "path", [path for path in RECIPES if load_recipe(path).student is not None], ids=lambda path: path.stem
)
def test_a_student_of_a_smoke_run_is_smaller_than_its_teacher(path: Path) -> None:
    recipe, lines = smoke_version(load_recipe(path)), []
    plan_architecture(recipe, lines.append)
    teacher, student = (int(re.search(r"([\d,]+) parameters", line)[1].replace(",", "")) for line in lines)
    assert student < teacher < 100_000


SMOKE = slow_but([path for path in RECIPES if path.stem == "ks_digits_hj_mac"], RECIPES)


@pytest.mark.parametrize("path", SMOKE, ids=lambda path: path.stem)
def test_a_recipe_runs_end_to_end_in_small(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path, ["smoke=true", f"output={tmp_path}/out"])
    outcome = run(recipe, say=lambda line: None)
    report = json.loads((outcome.folder / "report.json").read_text())
    small = prune_ssl.load_pretrained(outcome.model_folder)
    kept = cost_in(report, "model")
    assert kept == cost_of(small)
    assert (report["baseline"] is None) == recipe.only_fine_tunes
    for constraint in parse_budget(recipe.pruning.budget) if recipe.pruning else ():
        dense = cost_in(report, "baseline")
        found, whole = (total(cost, constraint.section, constraint.metric) for cost in (kept, dense))
        assert found <= constraint.fraction * whole
    stages = ("student", "distilled") if recipe.student else ("dense", "cut", "recovered")
    stages = ("fine_tuned",) if recipe.only_fine_tunes else stages
    assert set(stages) <= set(report["results"])
    for stage in stages:
        check_results(task_class(recipe.task), report["results"][stage])
    if recipe.task == "representation":
        assert type(small) is type(small.base_model), "a bare model"
        assert small.config.apply_spec_augment, "as its teacher has it"
        if recipe.student:
            assert report["results"]["distilled"]["loss"] < report["results"]["student"]["loss"]
        else:
            assert report["results"]["dense"]["loss"] == pytest.approx(0, abs=1e-6), "it is its own teacher"


Sections = dict[str, tuple[int, int]]


def cost_in(report: dict[str, Any], name: str) -> Sections:
    return {key: (part["params"], part["macs"]) for key, part in report[name]["sections"].items()}


def cost_of(model: nn.Module) -> Sections:
    sections = prune_ssl.trace(model).cost(seconds=1.0).by_section
    return {key: (part.params, part.macs) for key, part in sections.items()}


def total(cost: Sections, section: str | None, metric: str) -> int:
    index = {"params": 0, "macs": 1}[metric]
    return sum(part[index] for key, part in cost.items() if section in (None, key))


def check_results(task: type[Task], found: dict[str, float]) -> None:
    assert ("loss" in found) == task.spec.loss_is_judged
    metric = task.spec.metric
    if metric != "loss":
        assert found[f"{metric}_low"] <= found[metric] <= found[f"{metric}_high"]


def test_the_page_has_the_table_of_the_recipes() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert BEGIN in page
    assert END in page
    table = markdown_table(load_all(ROOT / "recipes"))
    assert with_table(page, table) == page, "prune-ssl recipes recipes --into docs/recipes.md writes it anew"
    assert all(f"`{path.name}`" in table for path in RECIPES)


def test_the_table_is_printed_and_written_between_its_marks(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["recipes", str(ROOT / "recipes")])
    assert result.exit_code == 0, result.output
    assert result.output == markdown_table(load_all(ROOT / "recipes"))
    document = tmp_path / "doc.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert CliRunner().invoke(app, ["recipes", str(ROOT / "recipes"), "--into", str(document)]).exit_code == 0
    assert document.read_text() == f"before\n{BEGIN}\n\n{result.output}\n{END}\nafter\n"
    document.write_text("no marks")
    refused = CliRunner().invoke(app, ["recipes", str(ROOT / "recipes"), "--into", str(document)])
    assert refused.exit_code == 2
    assert "has no marks for the table" in refused.output


def test_the_page_of_papers_has_the_deviations_of_the_headers() -> None:
    page = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
    found = 0
    for path in RECIPES:
        lines = path.read_text(encoding="utf-8").splitlines()
        for line in lines[lines.index(DIFFERS) + 1 :] if DIFFERS in lines else ():
            if not line.startswith("# - "):
                break
            found += 1
            shown = "kd_" in path.stem or f"- {line[4:]}" in page
            assert shown, f"{path.name}: docs/papers.md lacks {line[4:]!r}"
    assert found > 50
