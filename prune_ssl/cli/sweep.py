"""prune-ssl sweep: run a recipe at many budgets, methods and seeds, and write a Pareto report."""

import re
from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors, out, say
from prune_ssl.cli.groups import with_groups
from prune_ssl.cli.options import Overrides, RecipeName, Seeds, check_choice, check_folder
from prune_ssl.cli.sweep_options import Where, WhichTrials
from prune_ssl.cli.sweep_table import points_table
from prune_ssl.errors import RecipeError

FROZEN = ("nothing", "backbone", "frontend")


@with_groups
@one_line_errors
def sweep_command(
    recipe: RecipeName,
    overrides: Overrides = None,
    *,
    budgets: Annotated[
        list[str] | None,
        typer.Option(
            help="Budgets, such as 50% (of the MACs) or params=25M; repeatable, or separated by spaces. "
            "Default: the recipe's."
        ),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            help="Methods: gates, auto, one_shot/magnitude, iterative/taylor, ...; repeatable. Default: the "
            "recipe's."
        ),
    ] = None,
    seeds: Seeds = None,
    freeze: Annotated[
        list[str] | None,
        typer.Option(
            help="A recipe that only fine-tunes: the parts that are not trained, nothing, backbone or "
            "frontend; repeatable. A table compares them."
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Output folder. Default: runs/sweep-NAME.")
    ] = None,
    where: Where,
    which: WhichTrials,
) -> None:
    """Run a recipe once for each budget, method and seed, or resume such a sweep. Finished runs are kept.

    With --freeze it runs once for each frozen part and seed.
    """
    where.check()
    from prune_ssl.recipes import load_recipe, pruning_part
    from prune_ssl.sweeping import trials

    check_loose(budgets, overrides)
    loaded = load_recipe(recipe, overrides)
    folder = folder or Path("runs") / f"sweep-{loaded.name}"
    check_folder(folder)
    if freeze and (budgets or methods or where != Where() or which != WhichTrials()):
        raise RecipeError(
            "--freeze compares models that are not pruned, one after another: leave out --budgets, "
            "--methods, --jobs, --shard, --on, --find and --halving."
        )
    if freeze:
        from prune_ssl.pipeline.variants import run_variants

        parts = [check_choice("--freeze", each, FROZEN) for each in _split("--freeze", freeze)]
        say(run_variants(loaded, parts, seeds or [loaded.seed], folder, say).rstrip())
        return
    part = pruning_part(loaded)
    own = part.method if part.method in ("gates", "auto") else f"{part.method}/{part.criterion}"
    names = [check_choice("--methods", each, _methods()) for each in _split("--methods", methods) or [own]]
    which.check(where, names)
    given = _split("--budgets", budgets)
    cells = trials(given or list(part.budgets) or [part.budget], names, seeds or [loaded.seed])
    if which.only_check:
        from prune_ssl.sweeping import check

        check(loaded, cells, folder, say)
        return
    points = which.run(loaded, cells, given, folder, where)
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
