"""The table of a sweep's states."""

import io

from rich.console import Console

from prune_ssl.cli.sweep_table import MOST_ROWS, states_table
from tests.support.sweeping import plan_of


def shown(plan):
    console = Console(width=100, file=io.StringIO())
    console.print(states_table(plan))
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
