"""prune-ssl sweep: a recipe at many budgets, methods and seeds, and their Pareto report."""

from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors, say
from prune_ssl.recipes import load_recipe, pruning_part
from prune_ssl.sweeping import sweep, trials


@one_line_errors
def sweep_command(
    recipe: Annotated[Path, typer.Argument(help="Recipe (YAML).")],
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
    seeds: Annotated[list[int] | None, typer.Option(help="Repeatable.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder (default: runs/sweep-NAME).")] = None,
) -> None:
    """Run or resume a set of runs; what has a report of the same settings is not run again."""
    loaded = load_recipe(recipe, overrides)
    part = pruning_part(loaded)
    own = part.method if part.method == "gates" else f"{part.method}/{part.criterion}"
    cells = trials(
        _split(budgets) or list(part.budgets) or [part.budget],
        _split(methods) or [own],
        seeds or [loaded.seed],
    )
    folder = out or Path("runs") / f"sweep-{loaded.name}"
    points = sweep(loaded, cells, folder, say)
    say(f"{len(points)} of {len(cells)} models: {folder / 'pareto.html'}, {folder / 'pareto.csv'}")


def _split(texts: list[str] | None) -> list[str]:
    return [part for text in texts or [] for part in text.split()]
