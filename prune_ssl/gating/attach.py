"""attach_gates(): put gates where the masks multiply, on the consumers of every group."""

import numpy as np
import torch
from torch import nn

from prune_ssl.errors import ModelError
from prune_ssl.gating.config import PruningConfig
from prune_ssl.gating.gates import Gates
from prune_ssl.gating.modules import GATE, GATED, ColumnGate, swap_class
from prune_ssl.selection import allowed_widths, resolve
from prune_ssl.tracing import Group, ParameterSlice, PruningGraph


def attach_gates(model: nn.Module, graph: PruningGraph, config: PruningConfig) -> Gates:
    """Gate every group of `graph` on `model`; the model's parameters and state_dict keys stay as they are.

    A gate multiplies the columns of the weights that read its unit (methods 4.1), which costs a product the
    size of a weight, not of an activation, and acts even where a weight is used by a functional call. Norms
    over gated channels take kept-only statistics. New gates are drawn at each training forward of the
    backbone.

    Args:
        model: the model that was traced.
        graph: what `trace(model)` gave.
        config: budget and settings; `config.steps` is needed for `penalty` and `parameter_groups`.

    Returns:
        The gates: add `gates.parameter_groups()` to the optimiser and `gates.penalty(step)` to the loss, call
        `gates.clamp_()` after each step, then `gates.finalize()` and `gates.detach()`.

    Raises:
        BudgetError: the budget cannot be met.
        ModelError: the model is not the one that was traced, or has gates already.
    """
    check_same_model(model, graph)
    if any(hasattr(module, GATE) for module in model.modules()):
        raise ModelError("gates are attached to this model already; call gates.detach() first.")
    widths = allowed_widths(graph, config.round_to, config.kinds)
    limits = resolve(config.budget, graph, widths, config.seconds)
    gates = Gates(graph, config, limits, widths)
    device = next(model.parameters()).device
    if device.type != "meta":  # a model without weights has gates all the same, to plan with
        gates.to(device)
    try:
        for group in gates.groups.values():
            _attach_group(model, gates, group)
    except ModelError:
        gates.detach()
        raise
    backbone = model.get_submodule(graph.backbone)
    hook = backbone.register_forward_pre_hook(lambda module, _args: gates.draw(module.training))
    gates._handles.append(hook)
    return gates


def check_same_model(model: nn.Module, graph: PruningGraph) -> None:
    """Refuse a model whose parameters are not those that `graph` was traced on.

    Raises:
        ModelError: a parameter is missing, new, or of another shape.
    """
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    if shapes == graph.shapes:
        return
    odd = sorted(
        name for name in shapes.keys() | graph.shapes.keys() if shapes.get(name) != graph.shapes.get(name)
    )
    raise ModelError(
        f"this model is not the one that was traced: {odd[0]} has shape {shapes.get(odd[0])}, the graph says "
        f"{graph.shapes.get(odd[0])} ({len(odd)} parameters differ). Trace this model again."
    )


def _attach_group(model: nn.Module, gates: Gates, group: Group) -> None:
    for part in group.of_role("consumer"):
        module = _plain_module(model, part)
        unit_of_column = np.empty(part.index.size, dtype=np.int64)
        unit_of_column[part.index.ravel()] = np.repeat(np.arange(group.size), part.width)
        gate = ColumnGate(gates, group.name, torch.from_numpy(unit_of_column))
        gates._attached.append((module, swap_class(module, gate)))
    for path in dict.fromkeys(part.module for part in group.of_role("norm")):
        module = model.get_submodule(path)
        if isinstance(module, nn.LayerNorm):  # GroupNorm with one group per channel needs nothing
            gates._attached.append((module, swap_class(module, (gates, group.name))))


def _plain_module(model: nn.Module, part: ParameterSlice) -> nn.Module:
    module = model.get_submodule(part.module)
    if type(module) not in GATED:
        raise ModelError(
            f"{part.module} is a {type(module).__name__}; gates can be attached to plain Linear, Conv1d and "
            "LayerNorm modules. Merge adapters or parametrizations into it first."
        )
    return module
