"""prune-ssl run: run a recipe from audio to a smaller model and its report."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from prune_ssl.cli.console import one_line_errors, out, say
from prune_ssl.cli.options import Overrides, RecipeName

if TYPE_CHECKING:
    from prune_ssl.pipeline import Outcome


@one_line_errors
def run_command(
    recipe: RecipeName,
    overrides: Overrides = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the output folder of an earlier run.")] = False,
    resume: Annotated[bool, typer.Option(help="Continue an interrupted run of the same recipe.")] = False,
    only_check: Annotated[
        bool,
        typer.Option("--dry-run", help="Check everything, print the budget, and stop without training."),
    ] = False,
    only_estimate: Annotated[
        bool,
        typer.Option(
            "--estimate", help="Time a few steps of each phase, print what the run will need, and stop."
        ),
    ] = False,
    architecture: Annotated[
        bool,
        typer.Option("--architecture", help="Print cost and budget only, without weights, data or network."),
    ] = False,
) -> None:
    """Run a recipe: dense fine-tuning, gate training, cut, recovery, saving and report."""
    from prune_ssl.pipeline import dry_run, plan_architecture, run
    from prune_ssl.recipes import load_recipe
    from prune_ssl.training.processes import is_first

    loaded = load_recipe(recipe, overrides)
    again = shlex.join(["prune-ssl", "run", str(recipe), *(overrides or [])])
    if architecture:
        plan_architecture(loaded, say)
        return
    if only_check:
        dry_run(loaded, overwrite or resume, say)
        say(f"next:   {again} --estimate    (times a few steps, and says how long the run will take)")
        return
    if only_estimate:
        from prune_ssl.pipeline.estimating import estimate

        estimate(loaded, say)
        say(f"next:   {again}    (fewer steps, such as pruning.steps=400, take less time and lose more)")
        return
    outcome = run(loaded, overwrite, say, resume)
    if is_first():
        show(outcome)


def show(outcome: "Outcome") -> None:
    """Print the final table, its meaning, the places of model and report, and a command to go on with."""
    from prune_ssl.reporting.answer import verdict

    out.print(outcome.report.summary_table())
    if answer := verdict(outcome.report.data):
        say(answer)
    say(f"model:  {outcome.model_folder}")
    say(f"report: {outcome.report_html}")
    onnx = shlex.join([str(outcome.model_folder), str(outcome.folder / "onnx")])
    say(f"next:   prune-ssl export {onnx} --to onnx")
