"""prune-ssl recipes: a table of the recipes of a folder."""

from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors, say
from prune_ssl.errors import ArtifactError
from prune_ssl.recipes.catalogue import BEGIN, load_all, markdown_table, with_table


@one_line_errors
def recipes_command(
    folder: Annotated[Path, typer.Argument(help="Folder with recipes (*.yaml).")] = Path("recipes"),
    into: Annotated[
        Path | None, typer.Option(help="Write the table into this file, between its marks.")
    ] = None,
) -> None:
    """Print what each recipe does, on which data, by which method, and what it needs."""
    table = markdown_table(load_all(folder))
    if into is None:
        typer.echo(table, nl=False)
        return
    text = into.read_text(encoding="utf-8")
    if BEGIN not in text:
        raise ArtifactError(f"{into}: no place for the table: put the line {BEGIN!r} there")
    into.write_text(with_table(text, table), encoding="utf-8")
    say(f"wrote {into}")
