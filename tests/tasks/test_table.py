"""A task of one's own is added from outside with one call, as docs/add_a_task.md says."""

import dataclasses
import re

import pytest

from prune_ssl.errors import RecipeError
from prune_ssl.recipes import make_recipe
from prune_ssl.tasks import TASKS, Classification, Task, register_task, task_class
from tests.support.paths import ROOT

RECIPE = {
    "name": "mine",
    "data": {"path": "clips"},
    "pruning": {"budget": "macs=60%", "steps": 2, "learning_rate": 1.0e-3},
}


@pytest.fixture(autouse=True)
def as_before():
    known = dict(TASKS)
    yield
    TASKS.clear()
    TASKS.update(known)


@pytest.mark.slow
def test_the_page_adds_a_task_and_runs_a_recipe_of_it(tmp_path):
    names = {"OUTPUT": str(tmp_path / "out"), "__name__": "example"}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs/add_a_task.md").read_text(), re.DOTALL):
        exec(compile(block, "add_a_task.md", "exec"), names)
    assert task_class("balanced") is names["Balanced"]
    for stage in ("dense", "cut", "recovered"):
        assert 0 <= names["outcome"].report.data.results[stage]["balanced_accuracy"] <= 1
    own = {name for name in vars(names["Balanced"]) if name in Task.__abstractmethods__}
    assert own == {"from_folder", "head", "encode", "judge"}


def test_a_name_that_no_task_has_is_refused_in_a_recipe():
    with pytest.raises(RecipeError, match=r"task: found 'ballanced', wanted one of classification, ctc, "):
        make_recipe(RECIPE | {"task": "ballanced"})


def test_what_is_no_task_is_refused():
    class Half(Classification):
        spec = dataclasses.replace(Classification.spec, name="ctc")

    class Abstract(Task):
        spec = dataclasses.replace(Classification.spec, name="abstract")

    for kind, words in (
        (Half, "Recognition has the name 'ctc' already"),
        (Abstract, "Abstract lacks encode, from_folder, head, judge"),
        (int, "wanted a subclass of prune_ssl.tasks.Task"),
        ("ctc", "wanted a subclass"),
    ):
        with pytest.raises(RecipeError, match=words):
            register_task(kind)
    assert register_task(Classification) is Classification


def test_a_task_is_found_by_name_and_a_wrong_name_refused() -> None:
    assert task_class("classification") is Classification
    assert all(task.spec.name == name for name, task in TASKS.items())
    with pytest.raises(
        RecipeError, match="no task is named 'clasification': choose from classification, ctc"
    ):
        task_class("clasification")
