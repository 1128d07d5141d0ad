"""Successive halving: its rounds, its rule, and a sweep that says which methods it left out."""

import pytest

from prune_ssl.recipes import load_recipe
from prune_ssl.reporting.sweep_point import SweepPoint
from prune_ssl.sweeping import sweep_by_halving, trials
from prune_ssl.sweeping.halving import rungs, survivors


def point(method, value, budget="macs=50%", seed=0, metric="accuracy"):
    return SweepPoint(budget, method, seed, metric, value, None, None, 1, 0.5, 1, 0.5, None, None, "")


@pytest.mark.parametrize(
    ("methods", "factor", "wanted"),
    [(1, 2, []), (2, 2, [(0.5, 1)]), (5, 2, [(0.125, 3), (0.25, 2), (0.5, 1)]), (4, 4, [(0.25, 1)])],
)
def test_each_round_keeps_one_in_so_many_and_trains_so_many_times_longer(methods, factor, wanted):
    assert [(rung.share, rung.kept) for rung in rungs(methods, factor)] == wanted


def test_the_best_by_the_mean_over_seeds_go_on_at_each_budget():
    points = [
        *(point("a", 0.5), point("a", 0.9, seed=1), point("b", 0.8), point("b", 0.8, seed=1)),
        *(point("a", 0.4, "macs=20%"), point("c", 0.3, "macs=20%")),
    ]
    assert survivors(points, 1) == {"macs=50%": ["b"], "macs=20%": ["a"]}
    errors = [point("a", 0.2, metric="wer"), point("b", 0.1, metric="wer")]
    assert survivors(errors, 1) == {"macs=50%": ["b"]}


@pytest.mark.slow
def test_a_sweep_by_halving_runs_one_method_in_full_and_says_so(recipe, tmp_path):
    loaded, said, out = load_recipe(recipe), [], tmp_path / "sweep"
    cells = trials(["80%"], ["gates", "one_shot/magnitude"], [0])
    (made,) = sweep_by_halving(loaded, cells, out, said.append)
    assert sum("Training the dense model" in line for line in said) == 1
    assert len(list((out / "short" / "1").glob("*/report.json"))) == 2
    assert len(list(out.glob("*/report.json"))) == 1
    page = (out / "pareto.html").read_text()
    assert f"judged on validation clips, {made.method} went on" in page
