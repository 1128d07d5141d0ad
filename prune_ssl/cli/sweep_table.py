"""The live table of a sweep: the state of each trial, as its folder shows it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.live import Live
from rich.table import Table

from prune_ssl.cli.console import out as console
from prune_ssl.cli.console import say

if TYPE_CHECKING:
    from prune_ssl.recipes import Recipe
    from prune_ssl.reporting.sweep_point import SweepPoint
    from prune_ssl.sweeping import SweepPlan, Trial

MOST_ROWS = 30
"""A table with more trials shows only their numbers by state."""
SECONDS_BETWEEN = 1.0


@contextmanager
def shown_live(
    recipe: "Recipe", cells: "Sequence[Trial]", folder: Path, live: bool
) -> Iterator[Callable[[str], None]]:
    """Show the states of all trials below the lines of the sweep, and yield the function that prints a line.

    Nothing is shown if the output is not a terminal.
    """
    if not (live and console.is_terminal):
        yield say
        return
    from prune_ssl.sweeping import lay_out

    plan = lay_out(recipe, cells, folder)
    with Live(
        get_renderable=lambda: states_table(plan),
        console=console,
        refresh_per_second=1 / SECONDS_BETWEEN,
        transient=True,
    ):
        yield say


def points_table(points: "Sequence[SweepPoint]") -> Table:
    """Return the results of a sweep: each model, or the best method at each budget if they are many."""
    from prune_ssl.reporting.formatting import metric_value, percent
    from prune_ssl.reporting.pareto import best_table

    if len(points) > MOST_ROWS:
        best = best_table(points)
        table = Table(*best.columns, box=SIMPLE_HEAD, title="the best method at each budget")
        for row in best.rows:
            table.add_row(*row)
        return table
    metric = points[0].metric
    table = Table("method", "budget", "seed", metric, "dense", "MACs", box=SIMPLE_HEAD)
    for point in points:
        whole = "-" if point.dense is None else metric_value(metric, point.dense)
        value = metric_value(metric, point.value)
        table.add_row(
            point.method, point.budget, str(point.seed), value, whole, f"{percent(point.macs_kept)}"
        )
    return table


def states_table(plan: "SweepPlan") -> Table:
    """Return a table of the trials of a plan and their states."""
    states = {cell: plan.state(cell) for cell in plan.recipes}
    counts = {state: list(states.values()).count(state) for state in dict.fromkeys(states.values())}
    title = ", ".join(f"{count} {state}" for state, count in counts.items())
    table = Table("trial", "state", title=f"{len(states)} trials: {title}")
    shown = states if len(states) <= MOST_ROWS else {}
    for cell, state in shown.items():
        table.add_row(cell.name, state)
    return table
