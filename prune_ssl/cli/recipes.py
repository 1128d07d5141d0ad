"""prune-ssl recipes: print a table of recipes, or copy one."""

from pathlib import Path
from typing import Annotated

import typer

from prune_ssl.cli.console import one_line_errors, say
from prune_ssl.errors import ArtifactError
from prune_ssl.writing import write_text


@one_line_errors
def recipes_command(
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of recipes (*.yaml). Default: the recipes of the package.")
    ] = None,
    into: Annotated[
        Path | None, typer.Option(help="Write the table into this document, between its two marks.")
    ] = None,
    copy: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Copy this recipe of the package into the working directory."),
    ] = None,
) -> None:
    """Print a table of recipes with their task, model, data, method and needs."""
    from prune_ssl.recipes.catalogue import BEGIN, load_all, markdown_table, with_table
    from prune_ssl.recipes.shipped import copy_shipped, shipped_folder

    if copy is not None:
        say(f"wrote {copy_shipped(copy)}")
        return
    table = markdown_table(load_all(folder or shipped_folder()))
    if into is None:
        typer.echo(table, nl=False)
        return
    try:
        text = into.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ArtifactError(
            f"{into} cannot be read: {words}; wanted a document with the marks of the table."
        ) from error
    if BEGIN not in text:
        raise ArtifactError(f"{into} has no marks for the table: put the line {BEGIN!r} there")
    write_text(into, with_table(text, table))
    say(f"wrote {into}")
