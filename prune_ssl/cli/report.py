"""prune-ssl report: report the costs and latency of a model, compared with its dense model if given."""

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors, out, say
from prune_ssl.cli.groups import with_groups
from prune_ssl.cli.models import Loading, load_and_say
from prune_ssl.cli.options import Timed, check_writable
from prune_ssl.errors import ModelError


@with_groups
@one_line_errors
def report_command(
    models: Annotated[
        list[str], typer.Argument(help="Model folder or hub name. Several are compared side by side.")
    ],
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
    """Report the parameters, MACs, latency and size of a model, or of several models side by side.

    With --baseline a model is compared with its dense model. Several models are compared with the first of
    them, or with the baseline. The metrics of models that runs have made come from their folders.
    """
    check_writable(save, (".json", ".md", ".html"), overwrite)
    names = [*([baseline] if baseline else []), *models]
    for name in names[1:]:
        check_rates(name, names[0])
    if len(models) > 1:
        _compare(names, save or [], timed, loading)
        return
    (model,) = models
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
    if not save:
        compared = ["--baseline", baseline] if baseline else []
        again = shlex.join([model, *compared, "--save", "report.html"])
        say(f"next:   prune-ssl report {again}    (the same as a page)")


def _compare(models: list[str], save: list[Path], timed: Timed, loading: Loading) -> None:
    from prune_ssl.reporting.models_page import verdict
    from prune_ssl.reporting.side_by_side import compare_models, known_results, named

    names = named(models)
    if len(set(models)) < len(models):
        raise ModelError("report: a model is given twice; give each once.")
    loaded = {name: load_and_say(model, loading).eval() for name, model in names.items()}
    found = {name: known_results(model) for name, model in names.items()}
    known = {name: each for name, each in found.items() if each is not None}
    made = compare_models(loaded, timing=timed.timing, known=known)
    out.print(made.summary_table())
    say(verdict(made.data))
    for path in save:
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
    """Return the sample rate in a model's folder, or None. A recogniser's is in the file of its processor."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        try:
            found = json.loads((folder / name).read_text(encoding="utf-8"))
            return int(found.get("feature_extractor", found)["sampling_rate"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return None
