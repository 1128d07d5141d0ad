"""prune-ssl recipes: a table of the recipes of a folder."""

from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors, say
from prune_ssl.errors import ArtifactError
from prune_ssl.recipes.catalogue import BEGIN, load_all, markdown_table, with_table
from prune_ssl.writing import write_text


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
    try:
        text = into.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise ArtifactError(
            f"{into} cannot be read: {error}. Give a file with places for the table."
        ) from error
    if BEGIN not in text:
        raise ArtifactError(f"{into}: no place for the table: put the line {BEGIN!r} there")
    write_text(into, with_table(text, table))
    say(f"wrote {into}")
