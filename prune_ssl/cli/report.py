"""prune-ssl report: report the costs and latency of a model, compared with its dense model if given."""

import json
from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors, out, say
from prune_ssl.cli.groups import with_groups
from prune_ssl.cli.models import Loading, load_and_say
from prune_ssl.cli.options import Model, Timed, check_writable
from prune_ssl.errors import ModelError


@with_groups
@one_line_errors
def report_command(
    model: Model,
    save: Annotated[
        list[Path] | None,
        typer.Option(help="Write the report to this .json, .md or .html file; repeatable."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Dense model to compare with: folder or hub name.")
    ] = None,
    *,
    timed: Timed,
    overwrite: Annotated[bool, typer.Option(help="Replace existing files.")] = False,
    loading: Loading,
) -> None:
    """Report the parameters, MACs, latency and size of a model, compared with its dense model if given."""
    check_writable(save, (".json", ".md", ".html"), overwrite)
    if baseline:
        check_rates(model, baseline)
    from prune_ssl.reporting import RunFacts, report

    dense = load_and_say(baseline, loading).eval() if baseline else None
    made = report(
        load_and_say(model, loading).eval(),
        baseline=dense,
        timing=timed.timing,
        facts=RunFacts(title=model),
    )
    out.print(made.summary_table())
    for path in save or []:
        made.save(path)
        say(f"wrote {path}")


def check_rates(model: str, baseline: str) -> None:
    """Refuse two folders whose models take audio of different sample rates.

    Raises:
        ModelError: the rates differ, so that a second of audio is not the same input to both.
    """
    rates = [_rate(Path(name)) for name in (model, baseline)]
    if None not in rates and rates[0] != rates[1]:
        raise ModelError(
            f"{model} takes audio at {rates[0]} Hz, {baseline} at {rates[1]} Hz, so that their times and "
            "MACs for a second of audio cannot be compared. Give the dense model that this one was made from."
        )


def _rate(folder: Path) -> int | None:
    """Return the sample rate in a model's folder, or None."""
    try:
        found = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
        return int(found["sampling_rate"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
