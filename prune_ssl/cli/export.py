"""prune-ssl export: a model folder becomes files for a runtime."""

from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors, say
from prune_ssl.exporting import TARGETS, export


@one_line_errors
def export_command(
    model: Annotated[str, typer.Argument(help="Model folder, dense or pruned, or hub name.")],
    out: Annotated[Path, typer.Argument(help="Folder for the exported files.")],
    to: Annotated[str, typer.Option(help=f"Runtime: {', '.join(TARGETS)}.")] = "onnx",
    overwrite: Annotated[bool, typer.Option(help="Replace the folder if it exists.")] = False,
) -> None:
    """Write a model for ONNX Runtime, OpenVINO and others; what is written is first compared with PyTorch."""
    made = export(model, out, to, overwrite=overwrite)
    say(f"{made.target}: {made.file}, {made.size_bytes / 1e6:.1f} MB")
    say(
        f"compared with PyTorch at three lengths, one clip and three: largest difference "
        f"{made.difference.largest:.1e} of the largest output, mean {made.difference.mean:.1e}"
    )
    for note in made.notes:
        say(f"note: {note}")
