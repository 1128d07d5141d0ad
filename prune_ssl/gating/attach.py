"""attach_gates(): put gates where the masks multiply, on the consumers of every group."""

import weakref
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from prune_ssl.errors import BudgetError, ModelError
from prune_ssl.gating.config import PruningConfig
from prune_ssl.gating.gates import Gates
from prune_ssl.gating.modules import GATE, GATED, FactorLinear, SplitLinear, WeightGate, swap_class
from prune_ssl.models.checkpointing import checkpointing_layers, refuse_reentrant
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
        The gates: call `model.train()`, add `gates.parameter_groups()` to the optimiser and
        `gates.penalty(step)` to the loss, call `gates.clamp_()` after each step, then `gates.finalize()` and
        `gates.detach()`.

    Raises:
        BudgetError: the budget cannot be met, or the config has milestones.
        ModelError: the model is not the one that was traced, or has gates already.
    """
    check_same_model(model, graph)
    if config.milestones:
        raise BudgetError("milestones: only PruningTrainer has them; gates learn one budget at a time.")
    if any(hasattr(module, GATE) for module in model.modules()):
        raise ModelError("gates are attached to this model already; call gates.detach() first.")
    widths = allowed_widths(graph, config.round_to, config.kinds, config.layout)
    limits = resolve(config.budget, graph, widths, config.seconds)
    gates = Gates(graph, config, limits, widths)
    device = next(model.parameters()).device
    if device.type != "meta":  # a model without weights has gates all the same, to plan with
        gates.to(device)
    reattach(model, gates)
    return gates


def reattach(model: nn.Module, gates: Gates) -> None:
    """Take gates off what they are on and put them on a model of the same graph: a copy, say."""
    gates.detach()
    backbone = model.get_submodule(gates.graph.backbone)
    refuse_reentrant(checkpointing_layers(backbone), "gates")
    try:
        for group in gates.groups.values():
            _attach_group(model, gates, group)
    except ModelError:
        gates.detach()
        raise
    recomputing = checkpointing_layers(backbone)

    def draw(module: nn.Module, _args: Any) -> None:
        if module.training:
            refuse_reentrant(recomputing, "gates")
        gates.draw(module.training)

    gates._backbone = weakref.ref(backbone)
    gates._handles.append(backbone.register_forward_pre_hook(draw))


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
        _weight_gate(model, gates, part.module).columns[group.name] = _unit_of_entry(part, group.size)
    for part in group.of_role("factor"):
        rows = _weight_gate(model, gates, part.module).rows
        rows[group.name] = _unit_of_entry(part, group.size)
        model.get_submodule(part.module).__class__ = FactorLinear
    for path in group.outputs:
        _weight_gate(model, gates, path).blocks.append(group.name)
    for path in group.norms:
        module = model.get_submodule(path)
        if isinstance(module, nn.LayerNorm):  # norms of each channel alone need nothing
            _refuse_odd(module, path)
            width = module.normalized_shape[0]
            units = torch.arange(width) // (width // group.size) if width != group.size else None
            gates._attached.append((module, swap_class(module, (gates, group.name, units))))
    for split in group.splits:
        read = model.get_submodule(split.module)
        _refuse_odd(read, split.module)
        gate = (gates, group.name, torch.from_numpy(split.units).clamp(min=0))
        gates._attached.append((read, swap_class(read, gate, SplitLinear)))
    if group.kind == "layer":
        hook = model.get_submodule(group.block).register_forward_hook(
            partial(_mix_layer, gates, group.name), with_kwargs=True
        )
        gates._handles.append(hook)


def _mix_layer(
    gates: Gates, group: str, _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
) -> Any:
    """Return input + gate (output - input): 0 is the layer removed, 1 is the layer as it is."""
    given = args[0] if args else kwargs["hidden_states"]
    made = output[0] if isinstance(output, tuple) else output
    gate = gates.values(group).to(made)
    mixed = torch.lerp(given, made, gate)
    return (mixed, *output[1:]) if isinstance(output, tuple) else mixed


def _unit_of_entry(part: ParameterSlice, units: int) -> torch.Tensor:
    unit_of = np.empty(part.index.size, dtype=np.int64)
    unit_of[part.index.ravel()] = np.repeat(np.arange(units), part.width)
    return torch.from_numpy(unit_of)


def _weight_gate(model: nn.Module, gates: Gates, path: str) -> WeightGate:
    """Return the gate of a Linear or convolution, made on first use."""
    module = model.get_submodule(path)
    gate = module.__dict__.get(GATE)
    if gate is None:
        _refuse_odd(module, path)
        gate = WeightGate(gates)
        gates._attached.append((module, swap_class(module, gate)))
    assert isinstance(gate, WeightGate)
    return gate


def _refuse_odd(module: nn.Module, path: str) -> None:
    if type(module) not in GATED:
        raise ModelError(
            f"{path} is a {type(module).__name__}; gates can be attached to plain Linear, Conv1d and "
            "LayerNorm modules. Merge adapters or parametrizations into it first."
        )
