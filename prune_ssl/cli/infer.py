"""prune-ssl transcribe, classify, verify: a first try of a model on audio files."""

from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors
from prune_ssl.tasks.inference import classify, transcribe, verify

Model = Annotated[str, typer.Argument(help="Model folder or hub name.")]
Files = Annotated[list[Path], typer.Argument(help="Audio files.")]


@one_line_errors
def transcribe_command(model: Model, files: Files) -> None:
    """Print what is said in each file (a CTC model, greedy decoding)."""
    for path, text in transcribe(model, files):
        typer.echo(f"{path}\t{text}")


@one_line_errors
def classify_command(
    model: Model, files: Files, best: Annotated[int, typer.Option(min=1, help="Labels per file.")] = 1
) -> None:
    """Print the likeliest labels of each file with their probabilities."""
    for path, labels in classify(model, files, best):
        typer.echo(
            "\t".join([str(path), *(f"{label} {100 * share:.1f}%" for label, share in labels.items())])
        )


@one_line_errors
def verify_command(
    model: Model,
    reference: Annotated[Path, typer.Argument(help="A recording of the speaker.")],
    files: Files,
    threshold: Annotated[
        float | None, typer.Option(help="Say same from this score on, else different.")
    ] = None,
) -> None:
    """Print how alike the speaker of each file is to that of the reference (cosine, -1 to 1)."""
    for path, score in verify(model, reference, files):
        verdict = "" if threshold is None else "\tsame" if score >= threshold else "\tdifferent"
        typer.echo(f"{path}\t{score:.3f}{verdict}")
