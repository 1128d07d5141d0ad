"""prune-ssl export: write a model for a runtime."""

from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors, say
from prune_ssl.cli.options import Model, Overwrite, check_choice
from prune_ssl.exporting.targets import TARGETS


@one_line_errors
def export_command(
    model: Model,
    out: Annotated[Path, typer.Argument(help="Folder for the exported files.")],
    to: Annotated[str, typer.Option(help=f"Target: {', '.join(TARGETS)}.")] = "onnx",
    overwrite: Overwrite = False,
) -> None:
    """Write a model for ONNX Runtime, OpenVINO and others, after comparing its output with PyTorch's."""
    check_choice("--to", to, TARGETS)
    from prune_ssl.exporting import export

    made = export(model, out, to, overwrite=overwrite)
    say(f"{made.target}: {made.file}, {made.size_bytes / 1e6:.1f} MB")
    say(
        f"compared with PyTorch at three lengths, with one clip and three: the largest difference is "
        f"{made.difference.largest:.1e} of the largest output, the mean {made.difference.mean:.1e}"
    )
    for note in made.notes:
        say(f"note: {note}")
