"""Owns freezing: a part of a model does not learn while the rest is trained."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from torch import nn

from prune_ssl.errors import ModelError
from prune_ssl.models import backbone_of

Frozen = Literal["backbone", "frontend"]
"""All but the head; or the convolutions over samples."""


@contextmanager
def frozen(model: nn.Module, part: Frozen | None) -> Iterator[None]:
    """Keep a part of a model unchanged inside the context, with its batch norm statistics; None: no part.

    The part stays in evaluation mode, without dropout and masking, as in s3prl's downstream training.

    Raises:
        ModelError: the model has no such part.
    """
    if part is None:
        yield
        return
    module = _part_of(model, part)
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    # Trainer puts the whole model into training mode before every step.
    hook = module.register_forward_pre_hook(_hold_still)
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        hook.remove()
        for parameter in learning:
            parameter.requires_grad_(True)


def _part_of(model: nn.Module, part: Frozen) -> nn.Module:
    backbone = backbone_of(model)[1]
    if part == "backbone" and backbone is not model:
        return backbone
    found = getattr(backbone, "feature_extractor", None) if part == "frontend" else None
    if not isinstance(found, nn.Module):
        raise ModelError(f"{type(model).__name__}: freeze: {part}: nothing would be left, or there is none.")
    return found


def _hold_still(module: nn.Module, _args: object) -> None:
    module.eval()
