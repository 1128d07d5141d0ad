"""prune-ssl run: a recipe from audio to a smaller model and its report."""

from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors, out, say
from prune_ssl.pipeline import Outcome, dry_run, plan_architecture, run
from prune_ssl.recipes import load_recipe
from prune_ssl.training.processes import is_first


@one_line_errors
def run_command(
    recipe: Annotated[str, typer.Argument(help="Recipe (YAML), or the name of one of the package's.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key.sub=value, any number.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the output folder of an earlier run.")] = False,
    resume: Annotated[bool, typer.Option(help="Go on where an earlier run of it was interrupted.")] = False,
    only_check: Annotated[bool, typer.Option("--dry-run", help="Check all, print the budget, stop.")] = False,
    architecture: Annotated[
        bool, typer.Option("--architecture", help="Print cost and budget: no weights, no data, no network.")
    ] = False,
) -> None:
    """Run a recipe: dense fine-tuning, gate training, cut, recovery, artifacts, report."""
    loaded = load_recipe(recipe, overrides)
    if architecture:
        plan_architecture(loaded, say)
        return
    if only_check:
        dry_run(loaded, overwrite or resume, say)
        return
    outcome = run(loaded, overwrite, say, resume)
    if is_first():
        show(outcome)


def show(outcome: Outcome) -> None:
    """Print the closing table and where things are."""
    out.print(outcome.report.summary_table())
    say(f"model:  {outcome.model_folder}")
    say(f"report: {outcome.report_html}")
