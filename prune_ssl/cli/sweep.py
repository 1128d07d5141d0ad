"""prune-ssl sweep: run a recipe at many budgets, methods and seeds, and write a Pareto report."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from prune_ssl.cli.console import one_line_errors, out, say
from prune_ssl.cli.groups import with_groups
from prune_ssl.cli.options import Overrides, RecipeName, check_choice, check_folder
from prune_ssl.cli.sweep_options import Grid, Where, WhichTrials
from prune_ssl.cli.sweep_table import points_table
from prune_ssl.errors import RecipeError

if TYPE_CHECKING:
    from prune_ssl.recipes import Recipe

FROZEN = ("nothing", "backbone", "frontend")


@with_groups
@one_line_errors
def sweep_command(
    recipe: RecipeName, overrides: Overrides = None, *, grid: Grid, where: Where, which: WhichTrials
) -> None:
    """Run a recipe once for each budget, method and seed, or resume such a sweep. Finished runs are kept.

    With --freeze it runs once for each frozen part and seed.
    """
    where.check()
    from prune_ssl.recipes import load_recipe

    check_loose(grid.budgets, overrides)
    loaded = load_recipe(recipe, overrides)
    folder = grid.folder or Path("runs") / f"sweep-{loaded.name}"
    check_folder(folder)
    if not grid.freeze:
        _run_trials(loaded, grid, folder, where, which)
    elif grid.budgets or grid.methods or where != Where() or which != WhichTrials():
        raise RecipeError(
            "--freeze compares models that are not pruned, one after another: leave out --budgets, "
            "--methods, --jobs, --shard, --on, --find and --halving."
        )
    else:
        _compare_frozen(loaded, grid, folder)


def _compare_frozen(recipe: "Recipe", grid: Grid, folder: Path) -> None:
    """Fine-tune with each frozen part and seed, and print the table of them."""
    from prune_ssl.pipeline.variants import run_variants

    parts = [check_choice("--freeze", each, FROZEN) for each in _split("--freeze", grid.freeze)]
    say(run_variants(recipe, parts, grid.seeds or [recipe.seed], folder, say).rstrip())


def _run_trials(recipe: "Recipe", grid: Grid, folder: Path, where: Where, which: WhichTrials) -> None:
    """Run the trials that are asked for, or only check them, and print the table of their models."""
    from prune_ssl.recipes import pruning_part
    from prune_ssl.sweeping import check, trials

    part = pruning_part(recipe)
    own = part.method if part.method in ("gates", "auto") else f"{part.method}/{part.criterion}"
    asked = _split("--methods", grid.methods)
    names = [check_choice("--methods", each, _methods()) for each in asked or [own]]
    which.check(where, names)
    given = _split("--budgets", grid.budgets)
    cells = trials(given or list(part.budgets) or [part.budget], names, grid.seeds or [recipe.seed])
    if which.only_check:
        check(recipe, cells, folder, say)
        return
    points = which.run(recipe, cells, given, folder, where)
    if points:
        out.print(points_table(points))
    say(f"{len(points)} of {len(cells)} models: {folder / 'pareto.html'}, {folder / 'pareto.csv'}")


def _methods() -> list[str]:
    from prune_ssl.selection import CRITERIA

    endings = ["", *(f"/{name}" for name in CRITERIA)]
    return ["gates", "auto", *(f"{cuts}{each}" for cuts in ("one_shot", "iterative") for each in endings)]


def _split(option: str, texts: list[str] | None) -> list[str]:
    parts = [part for text in texts or [] for part in text.split()]
    if texts and not parts:
        raise RecipeError(f"{option}: found an empty text: leave the option out to use the recipe's value.")
    return list(dict.fromkeys(parts))


def check_loose(budgets: list[str] | None, overrides: list[str] | None) -> None:
    """Refuse budgets behind the first one of `--budgets`, which a shell gives as words of their own.

    Raises:
        RecipeError: a word is a percentage; the message has the budgets in one text.
    """
    loose = [each for each in overrides or [] if re.fullmatch(r"[0-9.]+%", each)]
    if loose:
        together = " ".join([*(budgets or []), *loose])
        raise RecipeError(
            f'--budgets: found {loose[0]} behind it; several are one text: --budgets "{together}".'
        )
