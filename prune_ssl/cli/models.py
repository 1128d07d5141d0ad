"""Loading of models by commands: shared options, the line on a model's head, and the lines on its costs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from prune_ssl.cli.console import err, say
from prune_ssl.cli.options import check_choice

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from prune_ssl.models.architectures import Head
    from prune_ssl.tracing import Cost

PickleOption = Annotated[
    bool,
    typer.Option(
        "--allow-pickle", help="Read pytorch_model.bin if there is no safetensors file (tensors only)."
    ),
]

HEADS: "dict[str, Head]" = {"keep": "keep", "drop": "drop"}


@dataclass(frozen=True)
class Loading:
    """Options for loading a model."""

    head: Annotated[
        str, typer.Option("--head", help="keep the model's head, or drop it and load only the backbone.")
    ] = "keep"
    allow_pickle: PickleOption = False

    def check(self) -> None:
        """Refuse values that are not among the choices.

        Raises:
            RecipeError: the message names the option and the choices.
        """
        check_choice("--head", self.head, HEADS)


def load_and_say(name: str, loading: Loading, to_stderr: bool = False) -> "PreTrainedModel":
    """Load a model, and print one line on its head (kept, dropped or new).

    Args:
        name: Model folder or hub name.
        loading: The options for loading.
        to_stderr: Whether to print to standard error, because another program reads standard output.

    Raises:
        ModelError: the model cannot be loaded.
    """
    from prune_ssl.models import load_model
    from prune_ssl.models.origin import origin_of

    loading.check()
    model = load_model(name, head=HEADS[loading.head], allow_pickle=loading.allow_pickle)
    origin = origin_of(model)
    line = "" if origin is None else f"head: {origin.head}"
    if to_stderr:
        err.print(line, markup=False, soft_wrap=True)
    else:
        say(line)
    return model


def say_costs(before: "Cost", after: "Cost") -> None:
    """Print parameters and MACs before and after a cut, at the audio length that they were counted for."""
    say(f"parameters {before.params:,} -> {after.params:,} ({100 * after.params / before.params:.1f}%)")
    share = f"{100 * after.macs / before.macs:.1f}%"
    say(f"MACs at {before.seconds:g} s {before.macs:,} -> {after.macs:,} ({share})")
