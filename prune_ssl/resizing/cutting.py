"""resize(): removes units exactly, and returns a new, smaller model."""

import copy
from collections.abc import Mapping, Sequence
from math import isfinite, sqrt
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from prune_ssl.errors import KeepError
from prune_ssl.gating import Plan
from prune_ssl.models import FAMILIES, Family
from prune_ssl.models.attention import HeldHeads, OpenAttention, ResidualLeft
from prune_ssl.models.layers import (
    empty_attention,
    empty_convolution,
    empty_feed_forward,
    is_alive,
    open_attention,
    remove_layer,
    state_heads,
    stated_size,
)
from prune_ssl.resizing.restate import restate_config, restate_sizes, state
from prune_ssl.tracing import Group, PruningGraph
from prune_ssl.tracing.arguments import as_model_and_graph


def resize(
    model: nn.Module | str | Path,
    graph: PruningGraph,
    keep: Mapping[str, Sequence[int]] | Plan,
    inplace: bool = False,
) -> nn.Module:
    """Cut all units out of `model` but those that are kept.

    The result computes the same function as the model whose gates are held at the same keep. The scales of a
    plan are folded into the weights of the consumers. Heads keep their own size. An attention or FFN without
    units becomes its output bias, a removed block gives zeros, and a removed layer passes its input on.

    Args:
        model: the model that was traced, without gates attached, or its folder or hub name.
        graph: the result of `trace(model)`.
        keep: group name -> kept units (a group that is not named stays whole), or a plan of
            `Gates.finalize`.
        inplace: cut `model` itself instead of a copy, to save memory.

    Returns:
        The smaller model, with a config that rebuilds it; `model` is untouched unless `inplace`.

    Raises:
        KeepError: the keep does not fit the graph.
        ModelError: the model is not the one that was traced, or its class cannot be rebuilt from a config.

    >>> from transformers import HubertConfig, HubertModel
    >>> from prune_ssl import trace
    >>> sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    >>> model = HubertModel(HubertConfig(**sizes, num_conv_pos_embedding_groups=2))
    >>> small = resize(model, trace(model), {"layer.0.ffn": [0, 3]})
    >>> small.encoder.layers[0].feed_forward.intermediate_dense
    Linear(in_features=16, out_features=2, bias=True)
    """
    model = as_model_and_graph(model, graph, "resize")
    plan = checked_plan(graph, keep)
    kept = plan.keep
    replaced = cut_tensors(model, graph, kept, plan.scales)
    small = _swap_in(model, replaced) if inplace else _copy_with(model, replaced)
    restructure(small, graph, kept, plan.scales)
    if graph.family in FAMILIES and isinstance(small, PreTrainedModel):
        restate_config(small, graph, FAMILIES[graph.family], kept)
    return small


def checked_plan(graph: PruningGraph, keep: Mapping[str, Sequence[int]] | Plan) -> Plan:
    """Return a plan whose units are sorted, each with its scale.

    Raises:
        KeepError: units or scales do not fit the graph.
    """
    if not isinstance(keep, Plan):
        return Plan.of(graph, graph.check(keep))
    kept, scales = graph.check(keep.keep), {}
    for name, values in keep.scales.items():
        if name not in graph.groups:
            graph.check({name: ()})  # raises, and names the nearest group
        units = keep.keep.get(name, range(graph.groups[name].size))
        if len(values) != len(units) or not all(isfinite(value) for value in values):
            raise KeepError(
                f"scales of {name}: found {len(values)}, wanted one finite number for each of the "
                f"{len(units)} units that stay."
            )
        scales[name] = tuple(value for _, value in sorted(zip(units, values, strict=True)))
    return Plan.of(graph, kept, scales)


def cut_tensors(
    model: nn.Module,
    graph: PruningGraph,
    kept: Mapping[str, Sequence[int]],
    scales: Mapping[str, Sequence[float]],
) -> dict[str, torch.Tensor]:
    """Return the new value of each parameter and buffer that loses entries or takes a scale."""
    tensors: dict[str, torch.Tensor] = dict(model.named_parameters()) | dict(model.named_buffers())
    cut = _Cut(model, tensors)
    for name, group in graph.groups.items():
        units = kept.get(name, tuple(range(group.size)))
        if name in scales:
            for part in (*group.of_role("consumer"), *group.of_role("factor")):
                factors = torch.tensor(scales[name], dtype=torch.float64).repeat_interleave(part.width)
                cut.scale(part.parameter, part.dim, part.index[list(units)].ravel(), factors)
            for path in group.outputs if len(units) else ():
                cut.scale_all(path, scales[name][0])
        if name in kept:
            for part in group.slices:
                cut.keep(part.parameter, part.dim, part.index[list(units)].ravel())
            for path in group.size_scales:
                cut.scale_all(path, sqrt(len(units) / group.size))
    return cut.values()


class _Cut:
    """Collects factors and kept entries for each tensor and axis, and applies them at once.

    Several groups may own one axis, such as heads and head dimensions. An entry stays if all of them keep it.
    """

    def __init__(self, model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
        self.model, self.tensors = model, tensors
        self.factors: dict[tuple[str, int], torch.Tensor] = {}
        self.kept: dict[tuple[str, int], torch.Tensor] = {}

    def scale(self, name: str, dim: int, entries: NDArray[np.int64], factors: torch.Tensor) -> None:
        every = self.factors.setdefault(
            (name, dim), torch.ones(self.tensors[name].shape[dim], dtype=torch.float64)
        )
        every[torch.from_numpy(entries)] *= factors

    def scale_all(self, path: str, factor: float) -> None:
        for name in (f"{path}.weight", f"{path}.bias"):
            if name in self.tensors:
                size = self.tensors[name].shape[0]
                factors = torch.full((size,), factor, dtype=torch.float64)
                self.scale(name, 0, np.arange(size), factors)

    def keep(self, name: str, dim: int, entries: NDArray[np.int64]) -> None:
        stays = torch.zeros(self.tensors[name].shape[dim], dtype=torch.bool)
        stays[torch.from_numpy(entries)] = True
        self.kept[name, dim] = stays & self.kept.get((name, dim), torch.ones_like(stays))

    def values(self) -> dict[str, torch.Tensor]:
        changed = dict.fromkeys(name for name, _ in (*self.factors, *self.kept))
        values = {name: self._value(name) for name in changed}
        for name in changed:
            magnitude = _magnitude_of(name)
            if magnitude in self.tensors:  # weight norm: the weight itself is cut, and split again
                weight = self._value(name, source=self._weight_of(name))
                values[name] = weight
                values[magnitude] = weight.norm(2, dim=(0, 1), keepdim=True).to(weight.dtype)
        return {
            name: nn.Parameter(value.contiguous(), requires_grad=self.tensors[name].requires_grad)
            if isinstance(self.tensors[name], nn.Parameter)
            else value.contiguous()
            for name, value in values.items()
        }

    def _weight_of(self, direction: str) -> torch.Tensor:
        """Return the weight that a module computes from the direction and the magnitude of weight norm."""
        module = self.model.get_submodule(_conv_of(direction))
        if not isinstance(module, nn.Conv1d):
            raise KeepError(f"{direction}: the weight norm of a {type(module).__name__} cannot be cut.")
        return module.weight

    def _value(self, name: str, source: torch.Tensor | None = None) -> torch.Tensor:
        value = (self.tensors[name] if source is None else source).detach()
        for (each, dim), factors in self.factors.items():
            if each == name:
                shape = [1] * value.dim()
                shape[dim] = -1
                value = value * factors.to(value).view(shape)
        for (each, dim), stays in self.kept.items():
            if each == name:
                value = value.index_select(dim, stays.nonzero().flatten().to(value.device))
        return value


def _magnitude_of(direction: str) -> str:
    """Return the name of the magnitude that belongs to the direction of a weight norm; else no name."""
    if direction.endswith("parametrizations.weight.original1"):
        return direction[:-1] + "0"
    return direction[:-1] + "g" if direction.endswith(".weight_v") else ""


def _conv_of(direction: str) -> str:
    return direction.removesuffix(".parametrizations.weight.original1").removesuffix(".weight_v")


def _copy_with(model: nn.Module, replaced: Mapping[str, torch.Tensor]) -> nn.Module:
    """Deep-copy `model` with some tensors replaced; the old values of those are never copied."""
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    memo: dict[int, object] = {id(tensors[name]): new for name, new in replaced.items()}
    return copy.deepcopy(model, memo)


def _swap_in(model: nn.Module, replaced: Mapping[str, torch.Tensor]) -> nn.Module:
    for name, new in replaced.items():
        path, _, leaf = name.rpartition(".")
        owner = model.get_submodule(path)
        if isinstance(new, nn.Parameter):
            owner.register_parameter(leaf, new)
        else:
            setattr(owner, leaf, new)
    return model


def restructure(
    model: nn.Module,
    graph: PruningGraph,
    kept: Mapping[str, Sequence[int]],
    scales: Mapping[str, Sequence[float]],
) -> None:
    """Empty the parts and remove the layers that lost all their units; let modules state their new sizes."""
    restate_sizes(model, graph, kept)
    for name, group in graph.groups.items():
        for attribute, each in group.stated if name in kept else ():
            path, _, leaf = attribute.rpartition(".")
            setattr(model.get_submodule(path), leaf, each * len(kept[name]))
    if graph.family not in FAMILIES:
        return
    family, backbone = FAMILIES[graph.family], model.get_submodule(graph.backbone)
    _restate_heads(backbone, graph, family, kept, scales)
    for name, group in graph.groups.items():
        if name in kept and not kept[name]:
            _empty(model, backbone, family, group)


def _restate_heads(
    backbone: nn.Module,
    graph: PruningGraph,
    family: Family,
    kept: Mapping[str, Sequence[int]],
    scales: Mapping[str, Sequence[float]],
) -> None:
    roles = family.attention
    for index, layer in enumerate(family.layers(backbone)):
        if not is_alive(layer, roles):
            continue
        block = layer.get_submodule(roles.path)
        if hasattr(block, "embed_dim"):
            state(block, embed_dim=stated_size(block, f"{roles.output}.out_features"))
        size = stated_size(block, roles.head_size)
        size = len(kept.get(f"layer.{index}.head_dim", range(size)))
        count = stated_size(block, f"{roles.output}.in_features") // size
        if roles.opened is not None and count:
            opened = isinstance(block, OpenAttention)
            original = stated_size(block, "original_heads" if opened else roles.head_count)
            before = block.heads if isinstance(block, OpenAttention) else list(range(original))
            heads = [before[unit] for unit in kept.get(f"layer.{index}.heads", range(len(before)))]
            residual = _residual_left(block, graph, kept, scales)
            config = getattr(backbone, "config", None)
            open_attention(layer, roles, config, HeldHeads(heads, original, size, residual))
        elif count:
            state_heads(block, roles, count, size)


def _residual_left(
    block: nn.Module,
    graph: PruningGraph,
    kept: Mapping[str, Sequence[int]],
    scales: Mapping[str, Sequence[float]],
) -> ResidualLeft | None:
    """Return the dimensions that are left of the original residual stream, and their scales."""
    before = block.residual if isinstance(block, OpenAttention) else None
    if "hidden" not in kept and "hidden" not in scales:
        return before
    group = graph.groups["hidden"]
    width = group.slices[0].width
    units = np.asarray(kept.get("hidden", range(group.size)))
    entries = (units[:, None] * width + np.arange(width)).ravel()
    before = before or ResidualLeft(list(range(group.size * width)), None)
    dims, factors = before.dims, before.scales
    every = np.ones(len(dims)) if factors is None else np.asarray(factors)
    every = every[entries] * np.repeat(scales.get("hidden", np.ones(len(units))), width)
    scaled = None if (every == 1).all() else every.tolist()
    return ResidualLeft([dims[entry] for entry in entries], scaled)


def _empty(model: nn.Module, backbone: nn.Module, family: Family, group: Group) -> None:
    """Empty the part that lost all units of `group`; its layer may be gone already."""
    _, index, *rest = group.name.split(".")
    part = rest[0] if rest else ""
    if not part:
        remove_layer(backbone, family, int(index))
        return
    layer = backbone.get_submodule(family.layer_path(index))
    keep_bias = group.kind != "block"
    if part in ("heads", "attention"):
        empty_attention(layer, family.attention, getattr(backbone, "config", None), keep_bias)
    elif part in ("conv", "convolution") and family.convolution is not None:
        empty_convolution(layer, family.convolution)
    for ffn in family.ffns:
        if part in (ffn.group, ffn.block):
            empty_feed_forward(layer, ffn, keep_bias)
