"""Owns the refusal of reentrant activation checkpointing, which hides gradients from gates and taps."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from prune_ssl.errors import ModelError

WAY = (
    "use_reentrant=False: model.activation_checkpointing_enable({'use_reentrant': False}), or "
    "TrainingArguments(gradient_checkpointing_kwargs={'use_reentrant': False})"
)


def checkpointing_layers(model: nn.Module) -> list[nn.Module]:
    """Return the modules of transformers that can recompute their activations."""
    return [module for module in model.modules() if hasattr(module, "gradient_checkpointing")]


def refuse_reentrant(modules: Iterable[nn.Module], who: str) -> None:
    """Refuse layers that are switched to reentrant checkpointing.

    It runs a layer without gradients first and then backward in pieces: a gate, which many layers share,
    would be gone through twice, and a hook would see states without a gradient.

    Args:
        modules: what `checkpointing_layers` gave.
        who: what does not work with it.

    Raises:
        ModelError: one of them is.
    """
    for module in modules:
        if module.gradient_checkpointing and _is_reentrant(
            getattr(module, "_gradient_checkpointing_func", None)
        ):
            raise ModelError(
                f"{type(module).__name__}: activation checkpointing is switched on with use_reentrant=True, "
                f"with which {who} cannot work. Give {WAY}."
            )


def _is_reentrant(function: Any) -> bool:
    """Whether a layer's checkpoint function is torch's with its reentrant form, the default of old torch."""
    if isinstance(function, partial):
        return function.keywords.get("use_reentrant") is not False
    return function is checkpoint


def refuse_reentrant_arguments(args: Any, who: str) -> None:
    """Refuse TrainingArguments that switch it on, before anything is trained.

    Args:
        args: any object with `activation_checkpointing` and its `_kwargs`, as transformers has them.
        who: what does not work with it.

    Raises:
        ModelError: they do.
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
