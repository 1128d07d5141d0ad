"""Extensions: modules of installed packages that register families, tasks and so on, imported first."""

from importlib.metadata import entry_points

import typer

GROUP = "prune_ssl.extensions"


def load_extensions() -> None:
    """Import every module that an installed package names in the entry point group `prune_ssl.extensions`.

    If a module cannot be imported, the program prints one line and continues without it.
    """
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:  # a foreign module may raise anything
            typer.echo(f"warning: the extension {point.name} ({point.value}) cannot be loaded: {error}")
