"""prune-ssl superb: probe a frozen encoder, and compute SUPERB's scores over all tasks."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from prune_ssl.cli.console import one_line_errors, say
from prune_ssl.cli.groups import with_groups
from prune_ssl.cli.options import MOST, MOST_SEED, Model, check_choice, number
from prune_ssl.errors import DataError
from prune_ssl.probing.settings import PROBES, FeatureKind, ProbeSettings
from prune_ssl.writing import check_place, lock, remove, write_text

if TYPE_CHECKING:
    import torch
    from torch.nn import Module

    from prune_ssl.data import Corruption
    from prune_ssl.probing import Probed, Trained

superb_app = typer.Typer(
    help="Judge a frozen encoder by the tasks of SUPERB (probe), or combine results (score).",
    no_args_is_help=True,
)


@dataclass(frozen=True)
class Training:
    """Options for training the heads of a probe. The defaults are SUPERB's settings."""

    rates: Annotated[
        list[float] | None,
        typer.Option(
            help="Learning rate to try; repeatable. Default: 0.1, 0.01, 0.001 and 0.0001.",
            callback=number(1e-12, 100.0),
        ),
    ] = None
    steps: Annotated[
        int | None, typer.Option(min=1, max=1_000 * MOST, help="Training steps. Default: SUPERB's.")
    ] = None
    batch_size: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="Clips per batch. Default: SUPERB's.")
    ] = None
    target: Annotated[str | None, typer.Option(help="Column or columns to predict. Default: the task's.")] = (
        None
    )
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of heads and batches.")] = 0
    features: Annotated[
        str,
        typer.Option(
            help="States that the head reads: a learned sum of all (sum), the last one (last), or a sum of "
            "those in the teacher's width, by what the model's distillation kept (projected)."
        ),
    ] = "sum"
    lexicon: Annotated[
        Path | None,
        typer.Option(
            help="pr: lines of a word and its phonemes, for a corpus with transcripts, such as LibriSpeech."
        ),
    ] = None

    def settings(self, default: ProbeSettings) -> ProbeSettings:
        """Return the settings of a task, replaced by the options that are given."""
        return dataclasses.replace(
            default,
            steps=default.steps if self.steps is None else self.steps,
            batch_size=default.batch_size if self.batch_size is None else self.batch_size,
            target=self._target(default),
            lexicon=self.lexicon,
            rates=tuple(self.rates) if self.rates else default.rates,
            seed=self.seed,
            features=cast(FeatureKind, check_choice("--features", self.features, get_args(FeatureKind))),
        )

    def _target(self, default: ProbeSettings) -> str:
        if self.lexicon is not None and default.task != "phonemes":
            raise DataError(f"--lexicon: it is for pr, found a task of {default.words}: leave it out.")
        own = default.target if self.lexicon is None else "text"
        return own if self.target is None else self.target


@dataclass(frozen=True)
class Conditions:
    """The options that have the heads judged under noise and in rooms as well."""

    noise: Annotated[
        list[str] | None,
        typer.Option(help="Files of noise: a folder or a pattern, repeatable. Default: white noise."),
    ] = None
    rirs: Annotated[
        list[str] | None,
        typer.Option(help="Room impulse responses: a folder or a pattern, repeatable. Default: no rooms."),
    ] = None
    snr: Annotated[
        list[float] | None, typer.Option(help="Signal-to-noise ratio in dB, repeatable. Default: no noise.")
    ] = None

    rt60: Annotated[
        list[float] | None,
        typer.Option(help="Reverberation time of simulated rooms in seconds, repeatable. Default: no rooms."),
    ] = None

    def read(self) -> "dict[str, Corruption]":
        """Return the conditions by name."""
        from prune_ssl.probing.conditions import conditions_of

        noise, rirs = (None if each is None else tuple(each) for each in (self.noise, self.rirs))
        return conditions_of(noise, rirs, self.snr or (), self.rt60 or ())


@superb_app.command("probe")
@with_groups
@one_line_errors
def probe_command(
    model: Model,
    task: Annotated[str, typer.Argument(help=f"Task of SUPERB: {', '.join(PROBES)}.")],
    data: Annotated[
        Path,
        typer.Argument(help="Folder with train, validation and test; or a folder of such folds."),
    ],
    *,
    training: Training,
    conditions: Conditions,
    device: Annotated[
        str, typer.Option(help="Device of encoder and heads: cpu, cuda, cuda:1 or mps.")
    ] = "cpu",
    save: Annotated[
        Path | None,
        typer.Option(help="Add the result to this JSON file, which may hold results of other tasks."),
    ] = None,
) -> None:
    """Train the task's head on the frozen encoder at each learning rate, and judge the best head on test."""
    check_choice("TASK", task, PROBES)
    if not data.is_dir():
        raise DataError(f"{data} is not a folder: give a corpus with train, validation and test.")
    settings, under = training.settings(PROBES[task]), conditions.read()
    if save is not None:
        _prepare(save)
    from prune_ssl.distillation import load_projections
    from prune_ssl.models import load_model
    from prune_ssl.probing import probe
    from prune_ssl.tasks.inference import load_extractor

    place = _device(device)
    encoder = load_model(model, head="drop")
    cast("Module", encoder).to(place)
    say(f"head: the probe trains a new one for {task}; the model's own head, if any, is not used")
    found = probe(
        encoder,
        load_extractor(model),
        data,
        settings,
        projections=load_projections(Path(model)) if settings.features == "projected" else None,
        conditions=under,
        say=say,
        keep=None if save is None else lambda heads: _keep(_heads_file(save, task), heads),
    )
    say(f"{task} ({settings.words}): {found.metric} {100 * found.value:.2f}%")
    for name, value in found.under.items():
        say(f"  {name}: {found.metric} {100 * value:.2f}%")
    if save is not None:
        _save(save, task, found)
        remove(_heads_file(save, task))
        _say_scores(save)


def _device(name: str) -> "torch.device":
    """Return a device of this machine.

    Raises:
        DataError: there is no such device here.
    """
    import torch

    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise DataError(f"--device: found {name!r}, which this machine does not have.") from error
    return torch.device(name)


@superb_app.command("score")
@one_line_errors
def score_command(
    results: Annotated[
        Path,
        typer.Argument(help='JSON file with the results of all SUPERB tasks in percent: {"ks": 96.3, ...}.'),
    ],
) -> None:
    """Print the SUPERB score and the overall score of a complete row of results."""
    if not results.is_file():
        raise DataError(f"{results}: there is no such file. `superb probe --save FILE` writes one.")
    try:
        numbers = _numbers(json.loads(results.read_text()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{results} does not map measures to numbers: {error}") from error
    say(_scores(numbers))


def _scores(numbers: Mapping[str, float]) -> str:
    from prune_ssl.probing.scores import overall_score, superb_score

    return f"SUPERB score {superb_score(numbers):.1f}; overall {overall_score(numbers):.2f}"


def _say_scores(path: Path) -> None:
    """Print the scores of a file of results as soon as it holds all tasks, else the missing ones."""
    from prune_ssl.probing.scores import MEASURES

    found = _earlier_results(path)
    missing = [name for name in MEASURES if name not in found]
    if missing:
        say(f"{path}: the scores of the row need {', '.join(missing)} as well")
    else:
        say(_scores(_numbers({name: found[name] for name in MEASURES})))


def _numbers(given: Mapping[str, object]) -> dict[str, float]:
    """Return the values of results, which are numbers or mappings with a `value`."""
    return {name: float(v["value"] if isinstance(v, dict) else v) for name, v in given.items()}  # type: ignore[arg-type]


def _prepare(path: Path) -> None:
    """Check before hours of training that the result can be written.

    Raises:
        DataError: the file holds something other than results.
        ArtifactError: the file cannot be written.
    """
    check_place(path)
    _earlier_results(path)


def _earlier_results(path: Path) -> dict[str, object]:
    """Return the results in a file, or none if the file is missing or empty."""
    try:
        text = path.read_text() if path.exists() else ""
        found = json.loads(text) if text.strip() else {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}. Give --save another file.") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: wanted a mapping of results, found a {type(found).__name__}.")
    return found


def _heads_file(path: Path, task: str) -> Path:
    """Return the file that holds the trained heads until the probe ends."""
    return path.with_name(f"{path.name}.{task}-heads")


def _keep(path: Path, folds: "Sequence[Sequence[Trained]]") -> None:
    _write(path, _plain(folds))


def _plain(folds: "Sequence[Sequence[Trained]]") -> list[list[dict[str, object]]]:
    return [[dataclasses.asdict(each) for each in heads] for heads in folds]


def _save(path: Path, task: str, found: "Probed") -> None:
    """Add one result to a file, after reading it again, because another probe may have written to it."""
    result = {"value": round(100 * found.value, 4), "metric": found.metric, "folds": _plain(found.folds)}
    if found.under:
        result["under"] = {name: round(100 * value, 4) for name, value in found.under.items()}
    with lock(path):
        _write(path, _earlier_results(path) | {task: result})


def _write(path: Path, content: object) -> None:
    write_text(path, json.dumps(content, indent=1))
