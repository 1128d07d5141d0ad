"""The recipes of the repository: each parses, fits its full-size architecture, and runs in small."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import prune_ssl
from prune_ssl.catalogue import BEGIN, END, load_all, markdown_table, with_table
from prune_ssl.cli.main import app
from prune_ssl.pipeline import plan_architecture, run
from prune_ssl.recipes import load_recipe
from prune_ssl.selection import parse_budget
from prune_ssl.tasks import task_class

ROOT = Path(__file__).parents[1]
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


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_fits_its_full_size_architecture(path: Path) -> None:
    recipe, lines = load_recipe(path), []
    graph = plan_architecture(recipe, lines.append)
    seconds = recipe.pruning.seconds
    cost = graph.cost(seconds=seconds)
    assert lines[0].endswith(f"{cost.params:,} parameters, {cost.macs:,} MACs at {seconds:g} s")
    budget = parse_budget(recipe.pruning.budget)
    assert len(lines) == 1 + len(budget)
    for line, constraint in zip(lines[1:], budget, strict=True):
        assert line.startswith(f"Budget {constraint}: keep at most ")
        assert "reachable: " in line
    if recipe.model.name == "facebook/wav2vec2-base":
        # The bare Base model (methods 1.1), and a head.
        assert sum(cost.by_section[name].params for name in cost.by_section if name != "head") == 94_371_712


SMOKE = [
    path
    if path.stem in ("asr_an4_hj_mac", "ks_digits_hj_mac")
    else pytest.param(path, marks=pytest.mark.slow)
    for path in RECIPES
]


@pytest.mark.parametrize("path", SMOKE, ids=lambda path: path.stem)
def test_a_recipe_runs_end_to_end_in_small(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path, ["smoke=true", f"output={tmp_path}/out"])
    outcome = run(recipe, say=lambda line: None)
    small = prune_ssl.trace(prune_ssl.load_pretrained(outcome.model_folder)).cost(seconds=1.0)
    dense = prune_ssl.trace(prune_ssl.load_pretrained(outcome.folder / "dense")).cost(seconds=1.0)
    for constraint in parse_budget(recipe.pruning.budget):
        kept, whole = (
            cost.by_section[constraint.section] if constraint.section else cost for cost in (small, dense)
        )
        assert getattr(kept, constraint.metric) <= constraint.fraction * getattr(whole, constraint.metric)
    results = json.loads((outcome.folder / "report.json").read_text())["results"]
    metric = task_class(recipe.task).metric
    for stage in ("dense", "cut", "recovered"):
        assert results[stage][f"{metric}_low"] <= results[stage][metric] <= results[stage][f"{metric}_high"]
        assert ("loss" in results[stage]) == task_class(recipe.task).loss_is_judged


def test_the_readme_has_the_table_of_the_recipes() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert BEGIN in readme
    assert END in readme
    table = markdown_table(load_all(ROOT / "recipes"))
    assert with_table(readme, table) == readme, "prune-ssl recipes recipes --into README.md writes it anew"
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
    assert "no place for the table" in refused.output
