"""The control of a pruning run: trained as long, in the report beside, without influence on the rest."""

import json

import pytest
import torch

from prune_ssl.errors import RecipeError
from prune_ssl.pipeline import run
from prune_ssl.pipeline.control import CONTROL_FILE, require_control_possible, steps_of_control
from prune_ssl.recipes import load_recipe
from tests.support.paths import RECIPES


def test_a_control_trains_as_long_as_the_pruned_model_and_changes_nothing_else(recipe, tmp_path) -> None:
    lines = []
    made = run(load_recipe(recipe, ["control=true"]), say=lines.append)
    assert any(line.endswith("the dense model without any cut: 6 steps") for line in lines)
    data = made.report.data
    assert set(data.results) == {"dense", "control", "cut", "recovered"}
    assert set(data.results["control"]) == set(data.results["recovered"])
    steps = [record.step for record in data.phases["control"]]
    assert steps[-1] == 6 == data.phases["pruning"][-1].step + data.phases["recovery"][-1].step
    assert ("recovered", "control") in {(each.stage, each.against) for each in data.differences}
    assert "dense, trained as long" in (made.folder / "report.md").read_text()
    assert json.loads((made.folder / CONTROL_FILE).read_text())["results"]["control"]
    assert not (made.folder / "control").exists(), "its checkpoints are gone"
    plain = run(load_recipe(recipe, [f"output={tmp_path}/plain"]), say=lambda line: None)
    weights = plain.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in made.model.state_dict().items())
    assert plain.report.data.results["recovered"] == data.results["recovered"]


@pytest.mark.parametrize("name", ["distilhubert", "dphubert", "ks_digits_dense"])
def test_a_control_without_a_pruned_model_of_a_task_is_refused(name) -> None:
    with pytest.raises(RecipeError, match="control is for recipes that prune a model of a task with labels"):
        require_control_possible(load_recipe(RECIPES / f"{name}.yaml", ["control=true"]))


def test_the_steps_of_a_control_are_those_of_gates_and_recovery() -> None:
    recipe = load_recipe(RECIPES / "ks_digits_hj_mac.yaml")
    part = recipe.pruning
    assert steps_of_control(None, part, part.steps) == part.steps + round(part.recovery * part.steps)
