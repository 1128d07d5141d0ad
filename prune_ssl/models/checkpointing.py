"""Refuses reentrant activation checkpointing, which hides gradients from gates and taps."""

from collections.abc import Iterable
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from prune_ssl.errors import ModelError
from prune_ssl.models.transformers_internals import checkpoint_function

WAY = (
    "use_reentrant=False: model.activation_checkpointing_enable({'use_reentrant': False}), or "
    "TrainingArguments(gradient_checkpointing_kwargs={'use_reentrant': False})"
)


def checkpointing_layers(model: nn.Module) -> list[nn.Module]:
    """Return the modules of transformers that can recompute their activations."""
    return [module for module in model.modules() if hasattr(module, "gradient_checkpointing")]


def refuse_reentrant(modules: Iterable[nn.Module], who: str) -> None:
    """Refuse layers that recompute their activations in the reentrant way.

    Reentrant checkpointing runs a layer without gradients first, and runs it again in the backward pass. The
    gradient of a gate, which many layers share, would be computed twice, and a hook would see states without
    a gradient.

    Args:
        modules: the result of `checkpointing_layers`.
        who: the thing that does not work with it, for the message.

    Raises:
        ModelError: one of the layers does.
    """
    for module in modules:
        if module.gradient_checkpointing and _is_reentrant(checkpoint_function(module)):
            raise ModelError(
                f"{type(module).__name__}: activation checkpointing is switched on with use_reentrant=True, "
                f"with which {who} cannot work. Give {WAY}."
            )


def _is_reentrant(function: object) -> bool:
    """Return whether a layer's checkpoint function is torch's in the reentrant form, once its default."""
    if isinstance(function, partial):
        return function.keywords.get("use_reentrant") is not False
    return function is checkpoint


def refuse_reentrant_arguments(args: object, who: str) -> None:
    """Refuse TrainingArguments that ask for reentrant checkpointing, before anything is trained.

    Args:
        args: an object with the fields `activation_checkpointing` and `activation_checkpointing_kwargs`, or
            with their older names.
        who: the thing that does not work with it, for the message.

    Raises:
        ModelError: the arguments ask for it.
    """
    switched_on = getattr(args, "activation_checkpointing", False) or getattr(
        args, "gradient_checkpointing", False
    )
    given = getattr(args, "activation_checkpointing_kwargs", None) or getattr(
        args, "gradient_checkpointing_kwargs", None
    )
    settings = {
        key: value for key, value in (given or {}).items() if key not in ("every_n_layers", "offload")
    }
    if switched_on and settings and settings.get("use_reentrant") is not False:
        raise ModelError(
            f"TrainingArguments: activation checkpointing is asked for with {settings}, that is with "
            f"use_reentrant=True, with which {who} cannot work. Give {WAY}."
        )
