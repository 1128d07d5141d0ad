"""resize(): exact removal of units into a new, smaller model."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from prune_ssl.gating import Plan
from prune_ssl.gating.attach import check_same_model
from prune_ssl.models import FAMILIES, BiasAttention, BiasFeedForward, Family
from prune_ssl.models.pruned import to_pruned_class
from prune_ssl.tracing import ParameterSlice, PruningGraph


def resize(
    model: nn.Module,
    graph: PruningGraph,
    keep: Mapping[str, Sequence[int]] | Plan,
    inplace: bool = False,
) -> nn.Module:
    """Cut the units that are not kept out of `model`.

    With gates held at the same keep, the masked model and the result compute the same function. Scales of a
    plan are folded into the consumers' weights. Heads keep their own size; an attention or FFN with no unit
    left becomes its output bias.

    Args:
        model: the model that was traced, without gates attached.
        graph: what `trace(model)` gave.
        keep: group name -> kept units (groups not named stay whole), or a plan of `Gates.finalize`.
        inplace: cut `model` itself instead of a copy, to save memory.

    Returns:
        The smaller model, with a config that rebuilds it; `model` is untouched unless `inplace`.

    Raises:
        KeepError: the keep does not fit the graph.
        ModelError: the model is not the one that was traced, or its class cannot be rebuilt from a config.
    """
    check_same_model(model, graph)
    plan = keep if isinstance(keep, Plan) else Plan(graph.check(keep))
    kept = graph.check(plan.keep)
    replaced = _cut_parameters(model, graph, kept, plan.scales)
    small = _swap_in(model, replaced) if inplace else _copy_with(model, replaced)
    widths = graph.widths(kept)
    family = FAMILIES[graph.family]
    for name, group in graph.groups.items():
        if group.block and widths[name] == 0:
            _leave_bias(small, group.block, family, group.kind)
    _restate_sizes(small, graph, family)
    if isinstance(small, PreTrainedModel):
        _restate_config(small, graph, family, widths)
    return small


def _cut_parameters(
    model: nn.Module,
    graph: PruningGraph,
    kept: Mapping[str, Sequence[int]],
    scales: Mapping[str, Sequence[float]],
) -> dict[str, nn.Parameter]:
    """Return the new value of every parameter that loses entries or takes a scale."""
    parameters = dict(model.named_parameters())
    values: dict[str, torch.Tensor] = {}
    for name, group in graph.groups.items():
        units = torch.tensor(kept.get(name, range(group.size)), dtype=torch.long)
        for part in group.slices:
            scaled = part.role == "consumer" and name in scales
            if name not in kept and not scaled:
                continue
            source = parameters[part.parameter]
            value = values.get(part.parameter, source.detach())
            if name in kept:
                index = torch.from_numpy(part.index)[units].flatten().to(source.device)
                value = value.index_select(part.dim, index)
            if scaled:
                value = _scaled(value, part, scales[name])
            values[part.parameter] = value
    return {
        name: nn.Parameter(value.contiguous(), requires_grad=parameters[name].requires_grad)
        for name, value in values.items()
    }


def _scaled(value: torch.Tensor, part: ParameterSlice, scales: Sequence[float]) -> torch.Tensor:
    factors = torch.tensor(scales, dtype=value.dtype, device=value.device).repeat_interleave(part.width)
    return value * factors.view(*[1] * part.dim, -1, *[1] * (value.dim() - part.dim - 1))


def _copy_with(model: nn.Module, replaced: Mapping[str, nn.Parameter]) -> nn.Module:
    """Deep-copy `model` with some parameters replaced; what is replaced is never copied."""
    parameters = dict(model.named_parameters())
    memo: dict[int, object] = {id(parameters[name]): new for name, new in replaced.items()}
    return copy.deepcopy(model, memo)


def _swap_in(model: nn.Module, replaced: Mapping[str, nn.Parameter]) -> nn.Module:
    for name, new in replaced.items():
        path, _, leaf = name.rpartition(".")
        model.get_submodule(path).register_parameter(leaf, new)
    return model


def _leave_bias(model: nn.Module, path: str, family: Family, kind: str) -> None:
    block = model.get_submodule(path)
    leaf = family.output if kind == "heads" else family.ffn_out
    output: nn.Linear = block.get_submodule(leaf)  # type: ignore[assignment]
    empty: nn.Module = (BiasAttention if kind == "heads" else BiasFeedForward)(output.out_features, leaf)
    bias = output._parameters["bias"]
    if bias is None:
        empty.to(output.weight)
    else:
        empty.get_submodule(leaf).bias = bias
    empty.train(block.training)
    model.set_submodule(path, empty)


def _restate_sizes(model: nn.Module, graph: PruningGraph, family: Family) -> None:
    """Make every module's own account of its sizes agree with its parameters."""
    touched = {part.module for group in graph.groups.values() for part in group.slices}
    modules = dict(model.named_modules())
    for path in touched & modules.keys():
        module = modules[path]
        shape: tuple[int, ...] = tuple(module.weight.shape) if hasattr(module, "weight") else ()
        if isinstance(module, nn.Linear):
            module.out_features, module.in_features = shape
        elif isinstance(module, nn.Conv1d):
            module.out_channels, module.in_channels = shape[0], shape[1] * module.groups
        elif isinstance(module, nn.GroupNorm):
            module.num_channels = module.num_groups = shape[0]
        elif isinstance(module, nn.LayerNorm):
            module.normalized_shape = shape
    for group in graph.groups.values():
        block = modules.get(group.block)
        if group.kind == "heads" and block is not None and not isinstance(block, BiasAttention):
            values: nn.Linear = block.get_submodule(family.values)
            block.num_heads = values.out_features // int(block.head_dim)


def _restate_config(
    model: PreTrainedModel, graph: PruningGraph, family: Family, widths: Mapping[str, int]
) -> None:
    backbone = model.get_submodule(graph.backbone)
    convs = [f"conv.{index}" for index in range(len(graph.kernels))]
    for index, name in enumerate(convs):
        layer = backbone.get_submodule(family.conv.format(i=index).rpartition(".")[0])
        layer.out_conv_dim = widths[name]  # type: ignore[assignment]
        layer.in_conv_dim = widths[convs[index - 1]] if index else 1  # type: ignore[assignment]
    count = int(model.config.num_hidden_layers)
    layers = {}
    for i in range(count):
        attention: Any = backbone.get_submodule(family.attention.format(i=i))
        # Heads that share maps are in no group; the module knows how many there are.
        layers[i] = (int(attention.num_heads), widths.get(f"layer.{i}.ffn", 0))
    to_pruned_class(model, [widths[name] for name in convs], layers)
