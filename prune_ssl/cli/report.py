"""prune-ssl report: costs and latency of a model folder, beside its dense model when given."""

from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors, out, say
from prune_ssl.cli.models import HeadOption, PickleOption, load_and_say
from prune_ssl.errors import ArtifactError
from prune_ssl.reporting import report
from prune_ssl.writing import check_place


@one_line_errors
def report_command(
    model: Annotated[str, typer.Argument(help="Model folder or hub name.")],
    save: Annotated[list[Path] | None, typer.Option(help="Write to .json, .md or .html; repeatable.")] = None,
    baseline: Annotated[str | None, typer.Option(help="The dense model, to compare with.")] = None,
    seconds: Annotated[list[float] | None, typer.Option(help="Audio length; repeatable.")] = None,
    threads: Annotated[list[int] | None, typer.Option(help="CPU threads; repeatable.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace existing files.")] = False,
    head: HeadOption = "keep",
    allow_pickle: PickleOption = False,
) -> None:
    """Count and time a model."""
    for path in save or []:
        if path.exists() and not overwrite:
            raise ArtifactError(
                f"{path} exists already; nothing was written. Give another name, or --overwrite."
            )
        check_place(path)
    dense = load_and_say(baseline, head, allow_pickle).eval() if baseline else None
    made = report(
        load_and_say(model, head, allow_pickle).eval(),
        baseline=dense,
        title=model,
        seconds=tuple(seconds or (1.0, 5.0, 10.0)),
        threads=tuple(threads or (1,)),
    )
    out.print(made.summary_table())
    for path in save or []:
        made.save(path)
        say(f"wrote {path}")
