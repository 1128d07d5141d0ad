"""The memory of a model: the folder from which it was loaded, its dtypes there, and the fate of its head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
    """The dtypes of the stored tensors by canonical name, without the path of the backbone."""
    main_dtype: torch.dtype
    """The dtype of most numbers."""
    prefix: str
    """The start of the names of the backbone's tensors in a model with a head."""
    head: str
    """Whether the head was kept or dropped, in a few words."""


def origin_of(model: nn.Module) -> Origin | None:
    """Return where a model was loaded from; None if `load_model` did not make it."""
    found = getattr(model, ATTRIBUTE, None)
    return found if isinstance(found, Origin) else None


def set_origin(model: nn.Module, origin: Origin) -> None:
    """Let a model remember where it came from."""
    setattr(model, ATTRIBUTE, origin)


def hand_on_origin(old: nn.Module, new: nn.Module) -> None:
    """Let a new model remember the origin and the asked dtype of the model that it is made from."""
    for name in (ATTRIBUTE, WRITTEN):
        if hasattr(old, name):
            setattr(new, name, getattr(old, name))


def forget_origin(model: nn.Module) -> None:
    """Let a model forget its origin and asked dtype; for a model that was loaded from a temporary folder."""
    for name in (ATTRIBUTE, WRITTEN):
        if hasattr(model, name):
            delattr(model, name)


def write_in(model: nn.Module, dtype: torch.dtype) -> None:
    """Ask that a model's floats are saved in a dtype; memory budgets count in it as well."""
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

    Half floats, which `load_model` holds in float32, go back to their stored dtype; other dtypes stay.
    """
    state: Mapping[str, torch.Tensor] = model.state_dict(keep_vars=True)
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
