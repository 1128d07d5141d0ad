"""The program as a whole: a wrong use is one line and status 2; a closed pipe or Ctrl-C ends it quietly."""

import io
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from prune_ssl.cli.console import err

USE_ERROR: Any = next(each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException")
"""The base class of wrong uses; typer has click's, or since 0.26 a copy of its own."""


class Program(TyperGroup):
    """The group of all commands."""

    def main(self, *args: Any, **settings: Any) -> Any:
        """Run a command; unless `standalone_mode` is off, end the process with its exit status."""
        standalone, settings["standalone_mode"] = settings.get("standalone_mode", True), False
        if not standalone:
            return super().main(*args, **settings)
        try:
            status = super().main(*args, **settings)
            sys.stdout.flush()
        except USE_ERROR as error:
            status = _explain(error)
        except BrokenPipeError:  # as with `| head`: who read it has had enough
            status = _without_output()
        except (KeyboardInterrupt, typer.Abort):
            err.print("stopped before it was done.")
            status = 130
        sys.exit(status if isinstance(status, int) else 0)


def _explain(error: Any) -> int:
    """Print what is wrong in one line, or the help where a command without arguments needs some."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        words = " ".join(error.format_message().split()).removesuffix(".")
        words += "" if words.endswith("?") else "."
        path = error.ctx.command_path if getattr(error, "ctx", None) else "prune-ssl"
        err.print(f"error: {words} See {path} --help.", markup=False, soft_wrap=True, style="red")
    return int(error.exit_code)


def _without_output() -> int:
    """Leave what nobody reads unwritten, so that the interpreter does not complain of it at its end."""
    sys.stdout = io.StringIO()
    return 1
