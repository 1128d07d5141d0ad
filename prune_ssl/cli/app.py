"""The prune-ssl program: its commands, in the order in which a user meets them."""

from typing import Annotated

import typer

from prune_ssl.cli import (
    apply,
    bench,
    demo,
    doctor,
    evaluate,
    export,
    importing,
    infer,
    init,
    prune,
    push,
    recipes,
    report,
    run,
    superb,
    sweep,
    trace,
)
from prune_ssl.cli.program import Program
from prune_ssl.version import VERSION


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"prune-ssl {VERSION}")
        raise typer.Exit


app = typer.Typer(
    name="prune-ssl",
    cls=Program,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Make speech SSL models (wav2vec 2.0, HuBERT, WavLM, ...) smaller and faster by structured pruning."""


app.command("demo")(demo.demo_command)
app.command("trace")(trace.trace_command)
app.command("prune")(prune.prune_command)
app.command("apply")(apply.apply_command)
app.command("init")(init.init_command)
app.command("run")(run.run_command)
app.command("recipes")(recipes.recipes_command)
app.command("sweep")(sweep.sweep_command)
app.command("import")(importing.import_command)
app.command("evaluate")(evaluate.evaluate_command)
app.command("report")(report.report_command)
app.command("export")(export.export_command)
app.command("push")(push.push_command)
app.command("transcribe")(infer.transcribe_command)
app.command("classify")(infer.classify_command)
app.command("verify")(infer.verify_command)
app.command("bench")(bench.bench_command)
app.add_typer(superb.superb_app, name="superb")
app.add_typer(doctor.doctor_app, name="doctor")


def main() -> None:
    """Run the program."""
    app()


if __name__ == "__main__":
    main()
