"""Method `auto`: what is tried, what is taken, and what a run says of it."""

import json

import pytest

from prune_ssl import PruningConfig
from prune_ssl.errors import BudgetError, RecipeError
from prune_ssl.pipeline import dry_run, method_trials, run
from prune_ssl.pipeline.method_trials import CHOICE_FILE, TRIED, Trial, best_of, with_method
from prune_ssl.recipes import load_recipe
from prune_ssl.tasks.outcomes import Outcomes
from tests.support.training import make_trainer


def trial(method, right, metric="accuracy", clips=100):
    hits = tuple(1.0 if index < right else 0.0 for index in range(clips))
    return Trial(method, metric, right / clips, Outcomes(metric, hits).to_data())


@pytest.mark.parametrize(
    ("rights", "metric", "taken"),
    [
        ((50, 50, 50), "accuracy", 0),
        ((50, 51, 50), "accuracy", 0),  # ahead by one clip, which is noise
        ((50, 53, 52), "accuracy", 0),  # and by three
        ((50, 60, 50), "accuracy", 1),
        ((50, 60, 75), "accuracy", 2),
        ((50, 40, 49), "accuracy", 0),
        ((50, 40, 49), "wer", 1),
    ],
)
def test_gates_are_taken_unless_another_method_is_ahead_by_more_than_noise(rights, metric, taken):
    trials = [trial(method, right, metric) for method, right in zip(TRIED, rights, strict=True)]
    assert best_of(trials).method == TRIED[taken]


def test_the_difference_of_two_methods_is_over_clips_also_where_speakers_are_known():
    speakers = tuple(index % 2 for index in range(100))
    one, other = ((0.0,) * 50 + (1.0,) * 50, (1.0,) * 30 + (0.0,) * 20 + (1.0,) * 50)
    first, second = (
        Trial(method, "accuracy", sum(hits) / 100, Outcomes("accuracy", hits, (), speakers).to_data())
        for method, hits in (("gates", one), ("one_shot/taylor", other))
    )
    assert best_of([first, second]) is second


def test_a_run_says_what_it_tried_and_takes_the_choice_of_an_interrupted_run(recipe, monkeypatch):
    loaded = load_recipe(recipe, ["pruning.method=auto", "pruning.steps=13", "pruning.recovery=0.5"])
    said: list[str] = []
    with monkeypatch.context() as broken:
        broken.setattr("prune_ssl.pipeline.running.hand_over", lambda *args, **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(loaded, say=said.append)
    assert sum(line.startswith(tuple(f"  {method} accuracy" for method in TRIED)) for line in said) == 3
    choice = json.loads((loaded.folder / CHOICE_FILE).read_text())
    assert choice["method"] in TRIED
    assert choice["steps"] == 1
    assert not list(loaded.folder.glob("trial*"))
    monkeypatch.setattr(method_trials, "_tried", lambda *args: 1 / 0)
    data = run(loaded, resume=True, say=said.append).report.data
    assert data.settings["method"] == f"auto, chose {choice['method']}"
    assert data.settings["trials of 1 steps"] == "; ".join(choice["trials"])
    assert data.recipe["pruning"]["method"] == "auto"


def test_auto_tries_the_kinds_that_each_method_has_by_default(recipe):
    low = load_recipe(recipe, ["pruning.method=auto", "pruning.budget=macs=19%"])
    assert "hidden" in method_trials.pruning_config(low).kinds
    assert "hidden" in method_trials.pruning_config(with_method(low, "gates")).kinds
    taylor = method_trials.pruning_config(with_method(low, "iterative/taylor"))
    assert (taylor.method, taylor.criterion, "hidden" in taylor.kinds) == ("iterative", "taylor", False)


def test_auto_without_labels_or_in_a_trainer_is_refused(recipe, tmp_path):
    unlabelled = ["task=representation", "dense=null", "distillation={losses: {l1: 1.0}}"]
    with pytest.raises(RecipeError, match="auto: its task has no labels"):
        dry_run(load_recipe(recipe, ["pruning.method=auto", *unlabelled]), say=lambda line: None)
    config = PruningConfig(budget="macs=60%", method="auto", seconds=1.0, round_to=1)
    with pytest.raises(BudgetError, match="method 'auto' compares methods on the validation clips"):
        make_trainer(tmp_path, pruning=config)
