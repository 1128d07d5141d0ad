"""prune-ssl bench: parameters, MACs, latency and RTF of any models, side by side."""

from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors, out, say
from prune_ssl.errors import ArtifactError
from prune_ssl.measuring import bench_table, benchmark_models, write_rows
from prune_ssl.writing import check_place


@one_line_errors
def bench_command(
    models: Annotated[
        list[str], typer.Argument(help="Folders, hub names, or arch:wav2vec2-base and the like.")
    ],
    seconds: Annotated[list[float] | None, typer.Option(help="Audio length; repeatable.")] = None,
    threads: Annotated[list[int] | None, typer.Option(help="CPU threads; repeatable.")] = None,
    save: Annotated[list[Path] | None, typer.Option(help="Write rows to .json or .csv; repeatable.")] = None,
) -> None:
    """Measure models in turns, so that drift of the machine hits all of them alike."""
    for path in save or []:
        if path.suffix not in (".json", ".csv"):
            raise ArtifactError(f"{path}: wanted a name that ends in .json or .csv.")
        check_place(path)
    rows = benchmark_models(models, tuple(seconds or (1.0, 5.0, 10.0)), tuple(threads or (1,)))
    out.print(bench_table(rows))
    for path in save or []:
        write_rows(rows, path)
        say(f"wrote {path}")
