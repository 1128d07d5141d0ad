"""How commands load a model: the options that they share, and the line on its head."""

from dataclasses import dataclass
from typing import Annotated

import typer
from transformers import PreTrainedModel

from prune_ssl.cli.console import err, say
from prune_ssl.cli.options import check_choice
from prune_ssl.models import load_model
from prune_ssl.models.architectures import Head
from prune_ssl.models.origin import origin_of

PickleOption = Annotated[
    bool,
    typer.Option(
        "--allow-pickle", help="Read pytorch_model.bin where there are no safetensors (tensors only)."
    ),
]

HEADS: dict[str, Head] = {"keep": "keep", "drop": "drop"}


@dataclass(frozen=True)
class Loading:
    """How a command loads its models."""

    head: Annotated[
        str, typer.Option("--head", help="keep the model's head, or drop it: the backbone alone is loaded.")
    ] = "keep"
    allow_pickle: PickleOption = False

    def check(self) -> None:
        """Refuse what is none of the choices.

        Raises:
            RecipeError: it names the option and the choices.
        """
        check_choice("--head", self.head, HEADS)


def load_and_say(name: str, loading: Loading, aside: bool = False) -> PreTrainedModel:
    """Load a model, and say in one line what became of its head.

    Args:
        name: model folder or hub name.
        loading: whether the head stays, and whether pytorch_model.bin may be read.
        aside: say it on standard error, as standard output is for a program.

    Raises:
        ModelError: it cannot be loaded.
    """
    loading.check()
    model = load_model(name, head=HEADS[loading.head], allow_pickle=loading.allow_pickle)
    origin = origin_of(model)
    line = "" if origin is None else f"head: {origin.head}"
    if aside:
        err.print(line, markup=False, soft_wrap=True)
    else:
        say(line)
    return model
