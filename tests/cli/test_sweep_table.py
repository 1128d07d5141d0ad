"""The table of a sweep's states."""

import io

from rich.console import Console

from prune_ssl.cli.sweep_table import MOST_ROWS, points_table, states_table
from prune_ssl.reporting.sweep_point import SweepPoint
from tests.support.sweeping import plan_of


def shown(plan):
    return printed(states_table(plan))


def printed(table):
    console = Console(width=100, file=io.StringIO())
    console.print(table)
    return " ".join(console.file.getvalue().split())


def test_each_trial_has_its_state(recipe, tmp_path):
    plan = plan_of(recipe, tmp_path / "sweep", ("80%", "60%", "40%"))
    first, _, last = plan.recipes
    plan.note_failure(last, ValueError("no memory"))
    with plan.claim(first):
        text = shown(plan)
    assert "3 trials: 1 running, 1 waiting, 1 failed" in text
    assert f"{first.name} │ running" in text


def test_a_long_table_is_only_counted(recipe, tmp_path):
    plan = plan_of(recipe, tmp_path / "sweep", seeds=range(MOST_ROWS))
    text = shown(plan)
    assert f"{2 * MOST_ROWS} trials: {MOST_ROWS} open, {MOST_ROWS} waiting" in text
    assert "gates-macs" not in text


def test_results_are_listed_and_many_are_summed_up():
    def point(seed, value=0.875):
        return SweepPoint(
            "macs=50%", "gates", seed, "accuracy", value, None, 0.9, 1, 0.499, 1, 0.5, None, None, ""
        )

    few = printed(points_table([point(0), point(1)]))
    assert "gates macs=50% 1 87.5% 90.0% 49.9%" in few
    many = printed(points_table([point(seed) for seed in range(MOST_ROWS + 1)]))
    assert "the best method at each budget" in many
    assert many.count("macs=50%") == 1
