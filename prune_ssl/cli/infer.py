"""prune-ssl transcribe, classify, verify: a first try of a model on audio files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors
from prune_ssl.cli.groups import with_groups
from prune_ssl.cli.models import PickleOption
from prune_ssl.cli.options import MOST, number
from prune_ssl.data.files import LONGEST_PATH, shown
from prune_ssl.tasks import BeamSettings
from prune_ssl.tasks.inference import classify, transcribe, verify

Model = Annotated[str, typer.Argument(help="Model folder or hub name.")]
Files = Annotated[list[Path], typer.Argument(help="Audio files.")]


@dataclass(frozen=True)
class Search:
    """How a beam search with a language model is done."""

    lm: Annotated[
        Path | None, typer.Option(help="ARPA file of an n-gram model of words: beam search with it.")
    ] = None
    beam: Annotated[int, typer.Option(min=1, max=MOST, help="With --lm: hypotheses that are kept.")] = 50
    lm_weight: Annotated[
        float, typer.Option(help="With --lm: weight of its log10 P.", callback=number(0, 1_000))
    ] = 2.0
    word_score: Annotated[
        float, typer.Option(help="With --lm: added for each word.", callback=number(-1_000, 1_000))
    ] = 0.0

    @property
    def settings(self) -> BeamSettings | None:
        """What is asked for; None: greedy decoding."""
        if self.lm is None:
            return None
        return BeamSettings(lm=self.lm, beam=self.beam, lm_weight=self.lm_weight, word_score=self.word_score)


@with_groups
@one_line_errors
def transcribe_command(
    model: Model,
    files: Files,
    *,
    search: Search,
    allow_pickle: PickleOption = False,
) -> None:
    """Print what is said in each file (a CTC model; greedy decoding, or beam search with --lm)."""
    for path, text in transcribe(model, files, search.settings, allow_pickle):
        typer.echo(f"{shown(path, LONGEST_PATH)}\t{text}")


@one_line_errors
def classify_command(
    model: Model,
    files: Files,
    best: Annotated[int, typer.Option(min=1, max=MOST, help="Labels per file, or per slot.")] = 1,
    allow_pickle: PickleOption = False,
) -> None:
    """Print the likeliest labels of each file with their probabilities."""
    for path, labels in classify(model, files, best, allow_pickle):
        shares = (f"{label} {100 * share:.1f}%" for label, share in labels.items())
        typer.echo("\t".join([shown(path, LONGEST_PATH), *shares]))


@one_line_errors
def verify_command(
    model: Model,
    reference: Annotated[Path, typer.Argument(help="A recording of the speaker.")],
    files: Files,
    threshold: Annotated[
        float | None,
        typer.Option(help="Say same from this score on, else different.", callback=number(-1, 1)),
    ] = None,
    allow_pickle: PickleOption = False,
) -> None:
    """Print how alike the speaker of each file is to that of the reference (cosine, -1 to 1)."""
    for path, score in verify(model, reference, files, allow_pickle):
        verdict = "" if threshold is None else "\tsame" if score >= threshold else "\tdifferent"
        typer.echo(f"{shown(path, LONGEST_PATH)}\t{score:.3f}{verdict}")
