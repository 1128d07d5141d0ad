"""prune-ssl import: write a checkpoint of another tool as a model folder."""

from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors, say
from prune_ssl.cli.options import MOST, Overwrite, Seconds, check_choice, check_folder


@one_line_errors
def import_command(
    file: Annotated[
        Path, typer.Argument(help="Checkpoint of DPHuBERT or DiariZen, or weights of torchaudio or fairseq.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder for the model.")],
    family: Annotated[
        str | None,
        typer.Option(help="hubert or wav2vec2; the file does not tell them apart. Default: hubert."),
    ] = None,
    heads: Annotated[
        int | None,
        typer.Option(
            help="Heads of a whole layer, for weights of torchaudio or fairseq of an unusual width.",
            min=1,
            max=MOST,
        ),
    ] = None,
    seconds: Seconds = 10.0,
    overwrite: Overwrite = False,
) -> None:
    """Write a checkpoint of another tool as a model folder, to load, prune further or export it."""
    from prune_ssl.artifacts import prepare_folder, save_pretrained
    from prune_ssl.importing import import_checkpoint
    from prune_ssl.importing.checkpoints import FAMILIES
    from prune_ssl.tracing import trace

    if family is not None:
        check_choice("--family", family, FAMILIES)
    prepare_folder(out, overwrite)
    check_folder(out.parent)
    found = import_checkpoint(file, family, heads)
    cost = trace(found.model).cost(seconds=seconds)
    save_pretrained(found.model, out, overwrite=overwrite, processor=found.extractor)
    for note in found.notes:
        say(f"note: {note}")
    say(f"{type(found.model).__name__}: {cost.params:,} parameters, {cost.macs:,} MACs at {cost.seconds:g} s")
    say(f"model: {out}")
