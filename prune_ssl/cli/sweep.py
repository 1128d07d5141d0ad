"""prune-ssl sweep: a recipe at many budgets, methods and seeds, and their Pareto report."""

from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors, say
from prune_ssl.cli.options import Seeds, check_choice, check_folder
from prune_ssl.errors import RecipeError
from prune_ssl.recipes import load_recipe, pruning_part
from prune_ssl.selection import CRITERIA
from prune_ssl.sweeping import sweep, trials


@one_line_errors
def sweep_command(
    recipe: Annotated[str, typer.Argument(help="Recipe (YAML), or the name of one of the package's.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key.sub=value, any number.")] = None,
    budgets: Annotated[
        list[str] | None, typer.Option(help="50% (of MACs), params=25M, ...; repeatable, or split by spaces.")
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            help="gates, one_shot/magnitude, iterative/taylor, ...; repeatable. Default: the recipe's."
        ),
    ] = None,
    seeds: Seeds = None,
    out: Annotated[Path | None, typer.Option(help="Folder (default: runs/sweep-NAME).")] = None,
) -> None:
    """Run or resume a set of runs; what has a report of the same settings is not run again."""
    loaded = load_recipe(recipe, overrides)
    part = pruning_part(loaded)
    own = part.method if part.method == "gates" else f"{part.method}/{part.criterion}"
    cells = trials(
        _split("--budgets", budgets) or list(part.budgets) or [part.budget],
        [check_choice("--methods", each, _methods()) for each in _split("--methods", methods) or [own]],
        seeds or [loaded.seed],
    )
    folder = out or Path("runs") / f"sweep-{loaded.name}"
    check_folder(folder)
    points = sweep(loaded, cells, folder, say)
    say(f"{len(points)} of {len(cells)} models: {folder / 'pareto.html'}, {folder / 'pareto.csv'}")


def _methods() -> list[str]:
    endings = ["", *(f"/{name}" for name in CRITERIA)]
    return ["gates", *(f"{cuts}{each}" for cuts in ("one_shot", "iterative") for each in endings)]


def _split(option: str, texts: list[str] | None) -> list[str]:
    parts = [part for text in texts or [] for part in text.split()]
    if texts and not parts:
        raise RecipeError(f"{option}: found an empty text; leave it out for what the recipe says.")
    return list(dict.fromkeys(parts))
