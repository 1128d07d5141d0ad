"""Owns what a model remembers of the checkpoint that it came from: its folder, its dtypes, its head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from prune_ssl.models.places import Place
from prune_ssl.models.weights import canonical

ATTRIBUTE, WRITTEN = "prune_ssl_origin", "prune_ssl_dtype"


@dataclass(frozen=True)
class Origin:
    """Where a model was loaded from."""

    place: Place
    dtypes: Mapping[str, torch.dtype] = field(repr=False)
    """Of its stored tensors, by canonical name from the backbone on."""
    main_dtype: torch.dtype
    """That of most of its numbers."""
    prefix: str
    """Of the backbone's tensors in a model with a head."""
    head: str
    """What became of its head, in a few words."""


def origin_of(model: nn.Module) -> Origin | None:
    """Return where a model was loaded from; None for one that `load_model` did not make."""
    found = getattr(model, ATTRIBUTE, None)
    return found if isinstance(found, Origin) else None


def set_origin(model: nn.Module, origin: Origin) -> None:
    """Let a model remember where it came from."""
    setattr(model, ATTRIBUTE, origin)


def hand_on_origin(old: nn.Module, new: nn.Module) -> None:
    """Let a model remember what the one that it is made of remembers."""
    for name in (ATTRIBUTE, WRITTEN):
        if hasattr(old, name):
            setattr(new, name, getattr(old, name))


def forget_origin(model: nn.Module) -> None:
    """Let a model that was loaded from a folder of the moment be one that `load_model` did not make."""
    for name in (ATTRIBUTE, WRITTEN):
        if hasattr(model, name):
            delattr(model, name)


def write_in(model: nn.Module, dtype: torch.dtype) -> None:
    """Have a model's floats saved in a dtype, whatever they came in; memory budgets count in it."""
    setattr(model, WRITTEN, dtype)


def make_origin(
    place: Place,
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, torch.dtype],
    prefix: str,
    head: str,
) -> Origin:
    """Return the origin of a model with these stored tensors."""
    sizes: dict[torch.dtype, int] = {}
    for name, dtype in dtypes.items():
        if dtype.is_floating_point:
            sizes[dtype] = sizes.get(dtype, 0) + torch.Size(shapes[name]).numel()
    main = max(sizes, key=lambda dtype: sizes[dtype], default=torch.float32)
    return Origin(place, {_key(name, prefix): dtype for name, dtype in dtypes.items()}, main, prefix, head)


def written_dtypes(model: nn.Module) -> dict[str, torch.dtype]:
    """Return the dtype that each entry of a model's state_dict is saved in.

    What `load_model` read as half floats and holds in float32 goes back to what it was; all else stays.
    """
    state: Mapping[str, Any] = model.state_dict(keep_vars=True)
    origin, asked = origin_of(model), getattr(model, WRITTEN, None)
    if asked is not None:
        return {n: asked if value.is_floating_point() else value.dtype for n, value in state.items()}
    if origin is None:
        return {name: value.dtype for name, value in state.items()}
    return {
        name: origin.dtypes.get(_key(name, origin.prefix), origin.main_dtype)
        if value.dtype == torch.float32
        else value.dtype
        for name, value in state.items()
    }


def _key(name: str, prefix: str) -> str:
    return canonical(name).removeprefix(prefix) if prefix else canonical(name)
