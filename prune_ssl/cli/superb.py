"""prune-ssl superb: probes of a frozen encoder, and SUPERB's scores over all tasks."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors, say
from prune_ssl.cli.groups import with_groups
from prune_ssl.cli.options import MOST, MOST_SEED, check_choice, number
from prune_ssl.errors import DataError
from prune_ssl.models import load_model
from prune_ssl.probing import PROBES, Probed, Trained, overall_score, probe, superb_score
from prune_ssl.probing.settings import GRID, ProbeSettings
from prune_ssl.tasks.inference import load_extractor
from prune_ssl.writing import check_place, lock, remove, write_text

superb_app = typer.Typer(help="What a frozen encoder knows: the SUPERB probe.", no_args_is_help=True)


@dataclass(frozen=True)
class Training:
    """How the heads of a probe are trained; what is not given is SUPERB's own."""

    rates: Annotated[
        list[float] | None,
        typer.Option(help="Learning rates to try; repeatable.", callback=number(1e-12, 100.0)),
    ] = None
    steps: Annotated[int | None, typer.Option(min=1, max=1_000 * MOST, help="Default: SUPERB's own.")] = None
    batch_size: Annotated[int | None, typer.Option(min=1, max=MOST)] = None
    target: Annotated[str | None, typer.Option(help="Column or columns to predict.")] = None
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED)] = 0

    def settings(self, of_task: ProbeSettings) -> ProbeSettings:
        """Return the settings of a task with what is given in the place of theirs."""
        return dataclasses.replace(
            of_task,
            steps=of_task.steps if self.steps is None else self.steps,
            batch_size=of_task.batch_size if self.batch_size is None else self.batch_size,
            target=of_task.target if self.target is None else self.target,
        )


@superb_app.command("probe")
@with_groups
@one_line_errors
def probe_command(
    model: Annotated[str, typer.Argument(help="Model folder or hub name, dense or pruned.")],
    task: Annotated[str, typer.Argument(help=f"One of {', '.join(PROBES)}.")],
    data: Annotated[Path, typer.Argument(help="Folder with train, validation and test; or folder of folds.")],
    *,
    training: Training,
    save: Annotated[
        Path | None,
        typer.Option(help="JSON that gets the result, beside those there."),
    ] = None,
) -> None:
    """Train the task's head on the frozen encoder at each learning rate; judge the best one."""
    check_choice("TASK", task, PROBES)
    if not data.is_dir():
        raise DataError(f"{data} is not a folder; wanted a corpus with train, validation and test.")
    settings = training.settings(PROBES[task])
    if save is not None:
        _prepare(save)
    encoder = load_model(model, head="drop")
    say(f"head: the probe trains one for {task}; the model's own, if it has any, is left out")
    found = probe(
        encoder,
        load_extractor(model),
        data,
        settings,
        rates=training.rates or GRID,
        seed=training.seed,
        say=say,
        keep=None if save is None else lambda heads: _keep(_heads_file(save, task), heads),
    )
    say(f"{task} ({settings.words}): {found.metric} {100 * found.value:.2f}%")
    if save is not None:
        _save(save, task, found)
        remove(_heads_file(save, task))


@superb_app.command("score")
@one_line_errors
def score_command(
    results: Annotated[Path, typer.Argument(help='JSON: {"ks": 96.3, ...}, all of SUPERB, in percent.')],
) -> None:
    """Print the SUPERB score and the overall score of a complete row of results."""
    try:
        given = json.loads(results.read_text())
        numbers = {
            name: float(value["value"] if isinstance(value, dict) else value) for name, value in given.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{results} is not a mapping of measure to number: {error}") from error
    say(f"SUPERB score {superb_score(numbers):.1f}; overall {overall_score(numbers):.2f}")


def _prepare(path: Path) -> None:
    """Find out before hours of training that the result can be written.

    Raises:
        DataError: the file holds something else.
        ArtifactError: it cannot be written.
    """
    check_place(path)
    _kept(path)


def _kept(path: Path) -> dict[str, object]:
    """Read the results that a file has already; none where it is missing or empty."""
    try:
        text = path.read_text() if path.exists() else ""
        kept = json.loads(text) if text.strip() else {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}. Give --save another file.") from error
    if not isinstance(kept, dict):
        raise DataError(f"{path}: wanted a mapping of results, found a {type(kept).__name__}.")
    return kept


def _heads_file(path: Path, task: str) -> Path:
    """Where the heads that are trained already are kept until the probe ends."""
    return path.with_name(f"{path.name}.{task}-heads")


def _keep(path: Path, folds: Sequence[Sequence[Trained]]) -> None:
    _write(path, _plain(folds))


def _plain(folds: Sequence[Sequence[Trained]]) -> list[list[dict[str, object]]]:
    return [[dataclasses.asdict(each) for each in heads] for heads in folds]


def _save(path: Path, task: str, found: Probed) -> None:
    """Add one result to those of a file, read anew: another probe may have written to it."""
    result = {"value": round(100 * found.value, 4), "metric": found.metric, "folds": _plain(found.folds)}
    with lock(path):
        _write(path, _kept(path) | {task: result})


def _write(path: Path, content: object) -> None:
    write_text(path, json.dumps(content, indent=1))
