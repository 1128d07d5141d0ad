"""The program as a whole: wrong use prints one line and exits with 2; closed pipes and Ctrl-C end quietly."""

import io
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from prune_ssl.cli.console import err

USE_ERROR: Any = next(each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException")
"""The base class of errors of use. typer uses click's class, and since 0.26 its own copy of it."""

USAGE_ERROR: Any = next(each for each in typer.BadParameter.__mro__ if each.__name__ == "UsageError")


RECIPE_COMMANDS = ("run", "sweep")
KEYS = {
    "--budget": "pruning.budget",
    "--method": "pruning.method",
    "--criterion": "pruning.criterion",
    "--kinds": "pruning.kinds",
    "--steps": "pruning.steps",
    "--learning-rate": "pruning.learning_rate",
    "--batch-size": "batch_size",
    "--model": "model.name",
    "--data": "data.path",
    "--output": "output",
    "--out": "output",
    "--seed": "seed",
}
"""Options that people try with a recipe, and the keys that they mean."""


class Program(TyperGroup):
    """The group of all commands."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command of the arguments, or say that an option of the program was meant."""
        options = {name for parameter in self.params for name in parameter.opts}
        if args and args[0] not in self.commands and f"--{args[0]}" in options:
            raise USAGE_ERROR(f"No such command '{args[0]}'. Did you mean --{args[0]}?", ctx=ctx)
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **settings: Any) -> Any:
        """Run a command, and end the process with its exit status unless `standalone_mode` is off."""
        standalone, settings["standalone_mode"] = settings.get("standalone_mode", True), False
        if not standalone:
            return super().main(*args, **settings)
        try:
            status = super().main(*args, **settings)
            sys.stdout.flush()
        except USE_ERROR as error:
            status = _explain(error)
        except BrokenPipeError:  # the reader, such as `| head`, has closed the pipe
            status = _without_output()
        except (KeyboardInterrupt, typer.Abort):
            err.print("stopped before it was done.")
            status = 130
        sys.exit(status if isinstance(status, int) else 0)


def _explain(error: Any) -> int:
    """Print the error in one line, or the help if a command lacks all its arguments."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
    else:
        words = " ".join(error.format_message().split()).removesuffix(".")
        words += "" if words.endswith("?") else "."
        path = error.ctx.command_path if getattr(error, "ctx", None) else "prune-ssl"
        key = KEYS.get(str(getattr(error, "option_name", "")))
        if key is not None and path.split()[-1] in RECIPE_COMMANDS:
            words += f" A setting of the recipe is given without dashes: {key}=VALUE."
        err.print(f"error: {words} See {path} --help.", markup=False, soft_wrap=True, style="red")
    return int(error.exit_code)


def _without_output() -> int:
    """Drop output that nobody reads, so that the interpreter does not complain about it at exit."""
    sys.stdout = io.StringIO()
    return 1
