"""prune-ssl evaluate: judge a model on a split of a corpus, as a run judges the model that it has made."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prune_ssl.cli.console import err, one_line_errors, say
from prune_ssl.cli.groups import with_groups
from prune_ssl.cli.infer import Search
from prune_ssl.cli.models import PickleOption
from prune_ssl.cli.options import MOST, Model, TargetColumns, TrialList, check_choice, number
from prune_ssl.data.layouts import SPLITS

if TYPE_CHECKING:
    from prune_ssl.pipeline.evaluating import Evaluation
    from prune_ssl.pipeline.judging import JudgingConfig


@dataclass(frozen=True)
class Judging:
    """Options for what does not follow from the model."""

    task: Annotated[
        str | None,
        typer.Option(help="Task, as in recipes: ctc, classification, ... Default: that of the model."),
    ] = None
    target: TargetColumns = None
    trials: TrialList = None
    max_seconds: Annotated[
        float | None,
        typer.Option(
            help="Cut longer clips to this length. Default: as in the model's recipe, else 15.",
            callback=number(0.025, 3_600.0, "seconds of audio"),
        ),
    ] = None
    batch_size: Annotated[
        int | None, typer.Option(min=1, max=MOST, help="Clips of a batch. Default: as in recipes.")
    ] = None

    def config(self, search: Search) -> "JudgingConfig":
        """Return the settings of these options and those of beam search."""
        from prune_ssl.pipeline.judging import BATCH_SIZE, JudgingConfig
        from prune_ssl.tasks import TASKS

        return JudgingConfig(
            task=None if self.task is None else check_choice("--task", self.task, TASKS),
            target=self.target,
            trials=self.trials,
            max_seconds=self.max_seconds,
            decoding=search.settings,
            batch_size=self.batch_size or BATCH_SIZE,
        )


@with_groups
@one_line_errors
def evaluate_command(
    model: Model,
    corpus: Annotated[Path, typer.Argument(help="Folder of the corpus.")],
    split: Annotated[str, typer.Option(help=f"Split: {', '.join(SPLITS)}.")] = "test",
    *,
    judging: Judging,
    search: Search,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    allow_pickle: PickleOption = False,
) -> None:
    """Judge a model on a split of a corpus: the metrics of its task with 95% intervals."""
    check_choice("--split", split, SPLITS)
    config = judging.config(search)
    from prune_ssl.models import load_model
    from prune_ssl.pipeline.evaluating import evaluate

    loaded = load_model(model, allow_pickle=allow_pickle).eval()
    found = evaluate(loaded, corpus, split, config, _to_stderr if as_json else say)
    if as_json:
        print(json.dumps(found.as_data(), indent=1))
        return
    for line in lines_of(found):
        say(line)


def lines_of(found: "Evaluation") -> list[str]:
    """Return a line for each metric, with its 95% interval if it has one."""
    from prune_ssl.reporting.formatting import metric_value
    from prune_ssl.reporting.paired import SPEAKERS
    from prune_ssl.tasks.differences import drawn_by

    lines = []
    for name, value in found.results.items():
        if name.endswith(("_low", "_high", SPEAKERS)):
            continue
        low, high = (found.results.get(f"{name}_{end}") for end in ("low", "high"))
        interval = ""
        if low is not None and high is not None:
            interval = f", 95% interval {metric_value(name, low)} to {metric_value(name, high)}"
        if f"{name}{SPEAKERS}" in found.results:
            interval += f" ({drawn_by(found.results[f'{name}{SPEAKERS}'])})"
        shown = f"{value:.0f}" if name in ("clips", "trials") else metric_value(name, value)
        lines.append(f"{name} {shown}{interval}")
    return lines


def _to_stderr(line: str) -> None:
    err.print(line, markup=False, soft_wrap=True)
