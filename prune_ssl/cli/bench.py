"""prune-ssl bench: parameters, MACs, latency and RTF of several models in one table."""

from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors, out, say
from prune_ssl.cli.groups import with_groups
from prune_ssl.cli.models import PickleOption
from prune_ssl.cli.options import Timed, check_choice, check_writable
from prune_ssl.errors import ModelError, RecipeError
from prune_ssl.runtimes.registry import EAGER, FORMS, RUNTIMES, require_runtime


@with_groups
@one_line_errors
def bench_command(
    models: Annotated[
        list[str],
        typer.Argument(help="Model folders, hub names, or architectures (arch:wav2vec2-base)."),
    ],
    *,
    timed: Timed,
    save: Annotated[
        list[Path] | None, typer.Option(help="Write the table to this .json or .csv file; repeatable.")
    ] = None,
    as_is: Annotated[
        bool,
        typer.Option("--as-is", help="Time models as transformers runs them, not optimised for inference."),
    ] = False,
    quantize: Annotated[
        str | None,
        typer.Option(help=f"Measure all models in this form of PyTorch's own: {', '.join(FORMS)}."),
    ] = None,
    runtime: Annotated[
        list[str] | None,
        typer.Option(help=f"Measure all models in this runtime: {', '.join(RUNTIMES)}; repeatable."),
    ] = None,
    allow_pickle: PickleOption = False,
) -> None:
    """Measure models in turns, so that changes of the machine's speed affect all of them equally.

    In eager PyTorch all models are optimised for inference first, with the same outputs, so that gains are
    those of pruning. With --runtime, ratios are to the first model in the first runtime.
    """
    check_writable(save, (".json", ".csv"), overwrite=True)
    form = None if quantize is None else check_choice("--quantize", quantize, FORMS)
    runtimes = [check_choice("--runtime", each, RUNTIMES) for each in runtime or (EAGER,)]
    if form is not None and runtimes != [EAGER]:
        raise RecipeError(
            "--quantize and --runtime cannot be combined: give --runtime torch-int8 or bfloat16 instead."
        )
    for each in runtimes:
        require_runtime(each)
    from prune_ssl.measuring import bench_table, benchmark_models, write_rows

    rows = benchmark_models(
        models,
        timed.timing,
        allow_pickle=allow_pickle,
        optimised=not as_is and form is None and runtimes == [EAGER],
        form=form,
        runtimes=runtimes,
    )
    if all(row.problem for row in rows):
        raise ModelError(f"nothing was measured: {'; '.join(row.problem for row in rows)}")
    out.print(bench_table(rows, out.width))
    for path in save or []:
        write_rows(rows, path)
        say(f"wrote {path}")
    if any(row.problem for row in rows):
        raise typer.Exit(1)
