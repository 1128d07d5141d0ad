"""prune-ssl export: write a model for a runtime, and judge the file on a corpus."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prune_ssl.cli.console import one_line_errors, say
from prune_ssl.cli.groups import with_groups
from prune_ssl.cli.options import Model, Overwrite, TargetColumns, TrialList, check_choice, number
from prune_ssl.data.layouts import SPLITS
from prune_ssl.errors import ExportError
from prune_ssl.exporting.targets import BEST, KINDS, TARGETS

if TYPE_CHECKING:
    from prune_ssl.exporting import JudgedFile
    from prune_ssl.pipeline.shipping import ExportData


@dataclass(frozen=True)
class OnCorpus:
    """Options for judging the file on a corpus before it is kept."""

    data: Annotated[
        Path | None,
        typer.Option(help="Judge the file on this corpus by the metric of the model's task, beside PyTorch."),
    ] = None
    split: Annotated[str | None, typer.Option(help=f"Split: {', '.join(SPLITS)}. Default: test.")] = None
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="Keep no file that loses more points of the metric against PyTorch.",
            callback=number(0.0, 100.0, "points"),
        ),
    ] = None
    target: TargetColumns = None
    trials: TrialList = None

    int8: Annotated[
        str | None,
        typer.Option(
            help=f"onnx-int8: {', '.join(KINDS)}. Default: best, which makes both and keeps the better one."
        ),
    ] = None

    @property
    def given(self) -> "ExportData | None":
        """The corpus and its conditions, or None without a corpus.

        Raises:
            ExportError: an option says how to judge, but there is no corpus.
        """
        others = {name: value for name, value in vars(self).items() if name != "data" and value is not None}
        if self.data is None:
            if others:
                options = ", ".join(f"--{name.replace('_', '-')}" for name in others)
                raise ExportError(f"{options}: found no corpus to judge the file on: give --data CORPUS.")
            return None
        split = check_choice("--split", "test" if self.split is None else self.split, SPLITS)
        int8 = check_choice("--int8", BEST if self.int8 is None else self.int8, KINDS)
        from prune_ssl.pipeline.judging import JudgingConfig
        from prune_ssl.pipeline.shipping import ExportData

        return ExportData(
            corpus=self.data,
            split=split,
            max_drop=self.max_drop,
            int8=int8,
            judging=JudgingConfig(target=self.target, trials=self.trials),
        )


@with_groups
@one_line_errors
def export_command(
    model: Model,
    out: Annotated[Path, typer.Argument(help="Folder for the exported files.")],
    to: Annotated[str, typer.Option(help=f"Target: {', '.join(TARGETS)}.")] = "onnx",
    overwrite: Overwrite = False,
    *,
    judging: OnCorpus,
) -> None:
    """Write a model for ONNX Runtime, OpenVINO and others, after comparing its output with PyTorch's."""
    check_choice("--to", to, TARGETS)
    data = judging.given
    from prune_ssl.pipeline.shipping import export

    made = export(model, out, to, overwrite=overwrite, data=data)
    say(f"{made.target}: {made.file}, {made.size_bytes / 1e6:.1f} MB")
    say(
        f"compared with PyTorch at three lengths, with one clip and three: the largest difference is "
        f"{made.difference.largest:.1e} of the largest output, the mean {made.difference.mean:.1e}"
    )
    for line in [] if made.judged is None else lines_of(made.judged):
        say(line)
    for note in made.notes:
        say(f"note: {note}")
    say(f"next:   {next_step(made.target, out)}")


def next_step(target: str, folder: Path) -> str:
    """Return the command or the words that lead on from an export.

    >>> next_step("pt2", Path("out"))
    'out/export.json says which input a program must give; docs/deploying.md has programs'
    """
    if target == "onnx-asr":
        read = "soundfile.read('../CLIP.flac', dtype='float32')[0]"  # onnx-asr itself reads WAV files only
        code = f"import soundfile, waveform_ctc; print(waveform_ctc.load().recognize({read}))"
        return f'cd {shlex.quote(str(folder))} && pip install onnx-asr && python -c "{code}"'
    return f"{folder / 'export.json'} says which input a program must give; docs/deploying.md has programs"


def lines_of(judged: "JudgedFile") -> list[str]:
    """Return the metric of a file with its interval, its difference from PyTorch, and its latency."""
    from prune_ssl.reporting.formatting import metric_value, milliseconds, points

    name, found = judged.metric, judged.results
    shown = {end: metric_value(name, found.get(f"{name}{end}")) for end in ("", "_low", "_high")}
    interval = "" if f"{name}_low" not in found else f", 95% interval {shown['_low']} to {shown['_high']}"
    clips = f"{judged.clips} {judged.split} clips of {judged.corpus}, one at a time"
    lines = [f"{name} {shown['']}{interval}, on {clips}"]
    paired = judged.paired
    change = points(name, judged.difference)
    if paired is not None:
        ends = [points(name, each) for each in (paired.low, paired.high)]
        change += f", 95% interval {ends[0]} to {ends[1]}, paired ({paired.drawn})"
    lines.append(f"minus PyTorch ({metric_value(name, judged.pytorch[name])}): {change}")
    file, beside = judged.latency, judged.pytorch_latency
    lines.append(
        f"latency of {file.seconds:g} s on {file.threads} thread{'s' * (file.threads > 1)}: "
        f"{milliseconds(file.median_ms)}, PyTorch in turns with it {milliseconds(beside.median_ms)}"
    )
    reason = file.unsteady or beside.unsteady
    return [*lines, f"note: do not quote this latency: {reason}"] if reason else lines
