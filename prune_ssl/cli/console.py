"""The console of all commands: quiet libraries, one line for each error, rich tables."""

import functools
import os
import sys
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer
from rich.console import Console

from prune_ssl.cli.extensions import load_extensions
from prune_ssl.errors import PruneError
from prune_ssl.on_import import after_import

P = ParamSpec("P")
R = TypeVar("R")

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
load_once = functools.cache(load_extensions)
"""Loads the extensions before the first command of a process runs: not for the help, nor for wrong use."""


def say(line: str) -> None:
    """Print one line, without wrapping it or interpreting markup in it."""
    # A file name that is not UTF-8 must neither end the program nor stay in the console's buffer.
    printable = line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    out.print(printable, markup=False, soft_wrap=True)


def quiet_libraries() -> None:
    """Hide the warnings of libraries, which address developers. Errors are still shown."""
    after_import("transformers.utils.logging", _quiet_transformers)
    warnings.filterwarnings("ignore", module=r"(transformers|torch|torch_pruning|accelerate|datasets)(\..*)?")


def _quiet_transformers() -> None:
    transformers_logging = sys.modules["transformers.utils.logging"]
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()  # the bars of loading and saving, not those of training


def close_bars() -> None:
    """Close the bars of trainings, of which there can be some only if their module is imported."""
    progress = sys.modules.get("prune_ssl.training.progress")
    if progress is not None:
        progress.close_bars()


def one_line_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Print the message of a PruneError and exit with status 2. PRUNE_SSL_DEBUG=1 shows the traceback.

    The command runs with the extensions of installed packages, and with quiet libraries.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        load_once()
        quiet_libraries()
        try:
            return command(*args, **kwargs)
        except PruneError as error:
            if os.environ.get("PRUNE_SSL_DEBUG"):
                raise
            close_bars()
            # File names in the message need not be UTF-8.
            words = str(error).encode(errors="backslashreplace").decode()
            err.print(f"error: {words}", markup=False, soft_wrap=True, style="red")
            raise typer.Exit(2) from error
        except KeyboardInterrupt:
            close_bars()
            err.print("stopped before it was done.")
            raise typer.Exit(130) from None

    return wrapped
