"""Extensions: modules of installed packages that register something; the program imports them first."""

from importlib.metadata import entry_points

from prune_ssl.cli.console import say

GROUP = "prune_ssl.extensions"


def load_extensions() -> None:
    """Import every installed module that is named in the entry point group `prune_ssl.extensions`.

    One that cannot be imported is said in a line, and the program goes on without it.
    """
    for point in entry_points(group=GROUP):
        try:
            point.load()
        except Exception as error:  # whatever a stranger's module raises
            say(f"warning: the extension {point.name} ({point.value}) cannot be loaded: {error}")
