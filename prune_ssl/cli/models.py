"""How commands load a model: the options that they share, and the line on its head."""

from typing import Annotated, cast

import typer
from transformers import PreTrainedModel

from prune_ssl.cli.console import err, say
from prune_ssl.cli.options import check_choice
from prune_ssl.models import load_model
from prune_ssl.models.architectures import Head
from prune_ssl.models.origin import origin_of

HeadOption = Annotated[
    str, typer.Option("--head", help="keep the model's head, or drop it: the backbone alone is loaded.")
]
PickleOption = Annotated[
    bool,
    typer.Option(
        "--allow-pickle", help="Read pytorch_model.bin where there are no safetensors (tensors only)."
    ),
]


def load_and_say(
    name: str, head: str = "keep", allow_pickle: bool = False, aside: bool = False
) -> PreTrainedModel:
    """Load a model, and say in one line what became of its head.

    Args:
        name: model folder or hub name.
        head: `keep` or `drop`.
        allow_pickle: whether pytorch_model.bin may be read.
        aside: say it on standard error, as standard output is for a program.

    Raises:
        ModelError: it cannot be loaded.
    """
    check_choice("--head", head, ("keep", "drop"))
    model = load_model(name, head=cast(Head, head), allow_pickle=allow_pickle)
    origin = origin_of(model)
    assert origin is not None  # load_model sees to it
    line = f"head: {origin.head}"
    if aside:
        err.print(line, markup=False, soft_wrap=True)
    else:
        say(line)
    return model
