"""Sweeps: run (or resume) a recipe at a set of budgets, methods and seeds, and write a Pareto report."""

from collections.abc import Sequence
from pathlib import Path

from prune_ssl.errors import ArtifactError
from prune_ssl.pipeline import dry_run
from prune_ssl.recipes import Recipe
from prune_ssl.reporting.sweep_point import SweepPoint
from prune_ssl.sweeping.attempts import Say
from prune_ssl.sweeping.cells import Trial, recipe_of
from prune_ssl.sweeping.plan import SweepPlan, lay_out
from prune_ssl.sweeping.shards import Engine, Shard

HERE = Shard()
"""Runs one trial after another in this process."""


def sweep(
    recipe: Recipe, cells: Sequence[Trial], out: Path, say: Say = print, engine: Engine = HERE
) -> list[SweepPoint]:
    """Run each trial that has no report yet, and write `pareto.html` and `pareto.csv` to `out`.

    The dense model of a seed is trained once. A trial that fails (also for lack of memory) is reported by
    `say` and left out of the files. The next sweep runs it again. Both files are updated after every trial.

    Args:
        recipe: The recipe of all trials.
        cells: The trials, for example from `trials`.
        out: The folder of all runs. All processes and machines that work on the sweep share it.
        say: Called with one line for each trial.
        engine: The place where the trials run: `Shard`, `Jobs` or `OnRay`.

    Returns:
        One point for each trial with a result.

    Raises:
        ArtifactError: no trial has a result, or `out` holds a sweep with other settings.
        RecipeError: the recipe does not prune, or a trial's method does not exist.
    """
    return run_plan(lay_out(recipe, cells, out), say, engine)


def check(recipe: Recipe, cells: Sequence[Trial], out: Path, say: Say = print) -> None:
    """Do all checks of a sweep without running a trial: one dry run for each budget and method.

    Args:
        recipe: The recipe of all trials.
        cells: The trials.
        out: The folder of all runs. It is not made.
        say: Called with one line for each finding.

    Raises:
        PruneError: a trial would be refused.
    """
    first = {(cell.budget, cell.method): cell for cell in reversed(cells)}
    for cell in reversed(first.values()):
        say(f"{cell.method}, {cell.budget}:")
        dry_run(recipe_of(recipe, cell, out), say=say)
    say(f"{len(cells)} trials: {', '.join(cell.name for cell in cells)}")


def run_plan(plan: SweepPlan, say: Say, engine: Engine) -> list[SweepPoint]:
    """Run the trials of a plan on an engine, and return one point for each trial with a result.

    Raises:
        ArtifactError: trials failed, and none has a result.
    """
    engine.work(plan, say)
    points = plan.points()
    failed = [cell.name for cell in plan.recipes if plan.failure(cell) is not None]
    if failed and not points:
        raise ArtifactError(
            f"no trial of the sweep has a result; the trials that failed: {', '.join(failed)}."
        )
    plan.write()
    if failed:
        say(f"left out, because they failed: {', '.join(failed)}")
    return points
