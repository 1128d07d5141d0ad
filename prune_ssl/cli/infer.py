"""prune-ssl transcribe, classify, verify: run a model on audio files."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prune_ssl.cli.console import one_line_errors
from prune_ssl.cli.groups import with_groups
from prune_ssl.cli.models import PickleOption
from prune_ssl.cli.options import MOST, Model, number
from prune_ssl.data.files import AUDIO_SUFFIXES, LONGEST_PATH, is_folder, shown
from prune_ssl.errors import DataError

if TYPE_CHECKING:
    from prune_ssl.tasks import BeamSettings

Files = Annotated[list[Path], typer.Argument(help="Audio files, or folders of them.")]


def recordings(given: list[Path]) -> list[Path]:
    """Return files, with the audio files in and below a folder in place of the folder, sorted.

    Raises:
        DataError: a folder holds no audio file.
    """
    found: list[Path] = []
    for path in given:
        if not is_folder(path):
            found.append(path)
            continue
        inside = sorted(each for each in path.rglob("*") if each.suffix.lower() in AUDIO_SUFFIXES)
        if not inside:
            raise DataError(
                f"{shown(path, LONGEST_PATH)}: this folder holds no audio file "
                f"({', '.join(sorted(AUDIO_SUFFIXES))})."
            )
        found += inside
    return found


@dataclass(frozen=True)
class Search:
    """Options of beam search with a language model."""

    lm: Annotated[
        Path | None,
        typer.Option(help="Decode by beam search with this n-gram model of words (ARPA file)."),
    ] = None
    beam: Annotated[int, typer.Option(min=1, max=MOST, help="With --lm: number of hypotheses to keep.")] = 50
    lm_weight: Annotated[
        float,
        typer.Option(help="With --lm: weight of the language model's score.", callback=number(0, 1_000)),
    ] = 2.0
    word_score: Annotated[
        float, typer.Option(help="With --lm: score added for each word.", callback=number(-1_000, 1_000))
    ] = 0.0

    @property
    def settings(self) -> "BeamSettings | None":
        """The settings of beam search. None: greedy decoding."""
        from prune_ssl.tasks.beam import BeamSettings

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
    """Print a transcript of each file by a CTC model with greedy decoding (or beam search with --lm)."""
    from prune_ssl.tasks.inference import transcribe

    for path, text in transcribe(model, recordings(files), search.settings, allow_pickle):
        typer.echo(f"{shown(path, LONGEST_PATH)}\t{text}")


@one_line_errors
def classify_command(
    model: Model,
    files: Files,
    best: Annotated[int, typer.Option(min=1, max=MOST, help="Number of labels per file (or per slot).")] = 1,
    allow_pickle: PickleOption = False,
) -> None:
    """Print the most probable labels of each file with their probabilities."""
    from prune_ssl.tasks.inference import classify

    for path, labels in classify(model, recordings(files), best, allow_pickle):
        shares = (f"{label} {100 * share:.1f}%" for label, share in labels.items())
        typer.echo("\t".join([shown(path, LONGEST_PATH), *shares]))


@one_line_errors
def verify_command(
    model: Model,
    reference: Annotated[Path, typer.Argument(help="A recording of the speaker.")],
    files: Files,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Print 'same' for scores from this value on, else 'different'.", callback=number(-1, 1)
        ),
    ] = None,
    allow_pickle: PickleOption = False,
) -> None:
    """Print how similar the speaker of each file is to the speaker of the reference (cosine, -1 to 1)."""
    from prune_ssl.tasks.inference import verify

    for path, score in verify(model, reference, recordings(files), allow_pickle):
        verdict = "" if threshold is None else "\tsame" if score >= threshold else "\tdifferent"
        typer.echo(f"{shown(path, LONGEST_PATH)}\t{score:.3f}{verdict}")
