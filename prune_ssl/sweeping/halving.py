"""Successive halving: short trials on validation clips decide which methods are run in full."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import mean

from prune_ssl.errors import RecipeError
from prune_ssl.recipes import Recipe, make_recipe, pruning_part
from prune_ssl.recipes.written import recipe_as_data
from prune_ssl.reporting.sweep_point import SweepPoint
from prune_ssl.sweeping.attempts import Say
from prune_ssl.sweeping.cells import Trial
from prune_ssl.sweeping.plan import lay_out
from prune_ssl.sweeping.running import HERE, run_plan
from prune_ssl.sweeping.shards import Engine

RUNGS = "short"
"""The folder of the short trials, in that of the sweep."""


@dataclass(frozen=True)
class Rung:
    """One round of short trials."""

    share: float
    """The part of the pruning steps that a trial trains for."""
    kept: int
    """The number of methods that go on, at each budget."""


def rungs(methods: int, factor: int) -> list[Rung]:
    """Return the rounds that leave one method: each keeps one in `factor`, and trains `factor` times longer.

    >>> rungs(9, 3)
    [Rung(share=0.1111111111111111, kept=3), Rung(share=0.3333333333333333, kept=1)]
    """
    left = list[int]()
    while methods > 1:
        methods = ceil(methods / factor)
        left.append(methods)
    return [Rung(float(factor) ** (index - len(left)), kept) for index, kept in enumerate(left)]


def survivors(points: Sequence[SweepPoint], kept: int) -> dict[str, list[str]]:
    """Return the best methods of each budget by the mean over seeds, without those that failed."""
    best = {}
    for budget in dict.fromkeys(point.budget for point in points):
        means = {
            method: mean(each.goodness for each in points if (each.budget, each.method) == (budget, method))
            for method in dict.fromkeys(point.method for point in points if point.budget == budget)
        }
        best[budget] = sorted(means, key=lambda method: -means[method])[:kept]
    return best


def sweep_by_halving(
    recipe: Recipe,
    cells: Sequence[Trial],
    out: Path,
    say: Say = print,
    engine: Engine = HERE,
    factor: int = 2,
) -> list[SweepPoint]:
    """Run short trials of all methods, and in full only those that win at their budget.

    A short trial has fewer pruning steps and is judged on validation clips, so the test clips choose nothing.
    The rule is that of successive halving (Jamieson & Talwalkar, AISTATS 2016). The page of the sweep says
    which methods were left out, and why.

    Args:
        recipe: The recipe of all trials.
        cells: The trials.
        out: The folder of all runs. The short ones are in its subfolder `short`.
        say: Called with one line for each trial and each decision.
        engine: The place where the trials run.
        factor: Each round keeps one method in so many.

    Returns:
        One point for each full trial with a result.

    Raises:
        RecipeError: the recipe does not prune, or its corpus is streamed.
        ArtifactError: no trial has a result.
    """
    if recipe.data.stream is not None:
        raise RecipeError(f"{recipe.name}: --halving needs validation clips, and the corpus is streamed.")
    left, notes, folders = list(cells), list[str](), list[Path]()
    for number, rung in enumerate(rungs(len({cell.method for cell in cells}), factor), 1):
        short = _short(recipe, rung)
        points = run_plan(lay_out(short, left, out / RUNGS / f"{number}", beside=folders), say, engine)
        folders.append(out / RUNGS / f"{number}")
        best = survivors(points, rung.kept)
        going_on = [cell for cell in left if cell.method in best.get(cell.budget, ())]
        for budget, methods in best.items():
            gone = sorted({cell.method for cell in left if cell.budget == budget} - set(methods))
            if gone:
                notes.append(
                    f"{budget}: after {pruning_part(short).steps} pruning steps, judged on validation clips, "
                    f"{', '.join(methods)} went on; {', '.join(gone)} did not."
                )
                say(notes[-1])
        left = going_on
    return run_plan(lay_out(recipe, left, out, notes, folders), say, engine)


def _short(recipe: Recipe, rung: Rung) -> Recipe:
    """Return a recipe with the steps of a round, judged on validation clips."""
    data = recipe_as_data(recipe)
    data["pruning"]["steps"] = max(round(rung.share * pruning_part(recipe).steps), 1)
    data["data"]["judged"] = "validation"
    return make_recipe(data, f"sweep of {recipe.name}, a short trial")
