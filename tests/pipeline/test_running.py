"""A run makes each of its facts once and carries it on."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from prune_ssl.data import Augmentation
from prune_ssl.distillation import DistillationConfig
from prune_ssl.pipeline import folders, run, running
from prune_ssl.recipes import Recipe, load_recipe
from prune_ssl.recipes.written import recipe_as_yaml
from prune_ssl.selection import parse_budget
from prune_ssl.tasks import TaskSettings
from prune_ssl.tracing import trace
from prune_ssl.training import SpeechArguments

RECIPES = Path(__file__).parents[2] / "recipes"


def watch(monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any], note: Callable[..., None]) -> None:
    """Call `note` with a function's arguments wherever a module of the package calls that function."""

    def watched(*args: Any, **kwargs: Any) -> Any:
        note(*args, **kwargs)
        return function(*args, **kwargs)

    for name, module in list(sys.modules.items()):
        if name.startswith("prune_ssl") and vars(module).get(function.__name__) is function:
            monkeypatch.setattr(module, function.__name__, watched)


def watch_making(monkeypatch: pytest.MonkeyPatch, made: Counter[object], kind: type, of: str = "") -> None:
    """Count the objects of a class that are made, or those of each value of one of its settings."""
    start = kind.__init__

    def noted(self: Any, *args: Any, **kwargs: Any) -> None:
        if type(self) is kind:
            made[kwargs[of] if of else kind] += 1
        start(self, *args, **kwargs)

    monkeypatch.setattr(kind, "__init__", noted)


def aside(
    budgets: list[str], made: Counter[object], function: Callable[[Recipe], Any]
) -> Callable[[Recipe], Any]:
    """The function, uncounted: making a recipe smaller or reading it back is not the run's work."""

    def called(recipe: Recipe) -> Any:
        before, counted = list(budgets), made.copy()
        found = function(recipe)
        budgets[:] = before
        made.clear()
        made.update(counted)
        return found

    return called


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "overrides", "models"),
    [
        ("ks_digits_hj_mac_kd", [], ["HubertForSequenceClassification"] * 2),
        ("ks_digits_hj_mac_kd", ["pruning.method=one_shot"], ["HubertForSequenceClassification"] * 2),
        ("distilhubert", [], ["HubertModel"] * 2),
    ],
)
def test_a_smoke_run_traces_each_model_once_and_reads_its_budget_once(
    recipe: str,
    overrides: list[str],
    models: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = load_recipe(RECIPES / f"{recipe}.yaml", ["smoke=true", f"output={tmp_path / 'out'}", *overrides])
    traced: list[nn.Module] = []
    budgets: list[str] = []
    made = Counter[object]()
    watch(monkeypatch, trace, lambda model, **_: traced.append(model))
    watch(monkeypatch, parse_budget, budgets.append)
    monkeypatch.setattr(folders, "recipe_as_yaml", aside(budgets, made, recipe_as_yaml))
    monkeypatch.setattr(running, "smoke_version", aside(budgets, made, running.smoke_version))
    for kind in (Augmentation, DistillationConfig, TaskSettings):
        watch_making(monkeypatch, made, kind)
    watch_making(monkeypatch, made, SpeechArguments, of="output_dir")  # a folder for each training
    outcome = run(loaded, say=lambda line: None)
    assert [type(model).__name__.removeprefix("Pruned") for model in traced] == models
    assert traced[-1] is outcome.made
    assert budgets == ([] if loaded.pruning is None else [loaded.pruning.budget])
    assert set(made.values()) == {1}, made
