"""Finds the names and shapes of a model's tensors from its class and config, on the meta device."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from prune_ssl.errors import ModelError
from prune_ssl.models.registry import FAMILIES, PRUNED_PREFIX
from prune_ssl.models.weights import canonical

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Parts:
    """Shapes of the tensors by canonical name: inside the backbone (named from it), and outside."""

    backbone: dict[str, tuple[int, ...]]
    head: dict[str, tuple[int, ...]]


@contextmanager
def _unfilled() -> Iterator[None]:
    """Make modules without memory; the random numbers of the program stay as they are."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"), no_init_weights():
        yield


def build_on_meta(cls: type[PreTrainedModel], config: PreTrainedConfig) -> PreTrainedModel:
    """Return a model of the class, built from a copy of the config without memory.

    Raises:
        ModelError: the class cannot be built from the config.
    """
    try:
        with _unfilled():
            return cls(copy.deepcopy(config))
    except Exception as error:  # a constructor may raise any kind for a config that it does not expect
        words = " ".join(str(error).split())[:200] or "no reason given"
        raise ModelError(
            f"{cls.__name__} cannot be built from its config: {type(error).__name__}: {words}. Correct the "
            "config."
        ) from error


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes in a model's state_dict by canonical name."""
    return {canonical(name): tuple(value.shape) for name, value in model.state_dict().items()}


def backbone_prefix(cls: type[PreTrainedModel]) -> str:
    """Return the start of the names of the backbone's tensors in a model with a head."""
    inside = ""
    if cls.config_class is not None:
        family = FAMILIES.get(cls.config_class.model_type.removeprefix(PRUNED_PREFIX))
        inside = "" if family is None else family.inside
    prefix = inside or str(cls.base_model_prefix)
    return f"{prefix}." if prefix else ""


def parted(shapes: Shapes, prefix: str, bare: Iterable[str]) -> Parts:
    """Sort tensors into those of the backbone and those outside.

    Args:
        shapes: the shape of each tensor by canonical name.
        prefix: the start of the backbone's names in a model with a head.
        bare: the names in a bare model, which a checkpoint without the prefix has.
    """
    if prefix and any(name.startswith(prefix) for name in shapes):
        backbone = {name.removeprefix(prefix): s for name, s in shapes.items() if name.startswith(prefix)}
        return Parts(backbone, {name: s for name, s in shapes.items() if not name.startswith(prefix)})
    known = set(bare)
    roots = tuple({f"{name.split('.')[0]}." for name in known if "." in name} - {"feature_extractor."})
    own = {name for name in shapes if name in known or name.startswith((*roots, "feature_extractor.conv_"))}
    return Parts(
        {name: s for name, s in shapes.items() if name in own},
        {name: s for name, s in shapes.items() if name not in own},
    )


def differences(found: Shapes, wanted: Shapes, optional: Iterable[str] = ()) -> list[str]:
    """Return a line for each tensor in which two models differ: missing, left over, or of another shape."""
    lines = []
    for name, shape in wanted.items():
        if name not in found:
            if name not in optional:
                lines.append(f"{name} {list(shape)} is missing")
        elif found[name] != shape:
            lines.append(f"{name}: found shape {list(found[name])}, wanted {list(shape)}")
    return lines + [f"{name} is left over" for name in found if name not in wanted]


def buffer_names(model: nn.Module) -> set[str]:
    """Return the canonical names of the buffers in a model's state_dict."""
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    return {canonical(name) for name in model.state_dict() if name not in parameters}
