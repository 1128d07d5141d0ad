"""Attachment: puts gates on the consumers of every group of one model."""

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Protocol

import numpy as np
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from prune_ssl.errors import ModelError
from prune_ssl.gating.mixing import mix
from prune_ssl.gating.modules import (
    FactorLinear,
    SplitLinear,
    gate_of,
    gated_class,
    restore_class,
    swap_class,
)
from prune_ssl.gating.products import APART_ON, clear_products, make_products
from prune_ssl.gating.wiring import AxisGate, GateSource, WeightGate, Wiring
from prune_ssl.models.checkpointing import checkpointing_layers, refuse_reentrant
from prune_ssl.tracing import Group, ParameterSlice, PruningGraph


class GroupGates(GateSource, Protocol):
    """The gates of some groups of a graph, which can be attached to a model."""

    graph: PruningGraph
    groups: dict[str, Group]
    attachment: "Attachment | None"

    def draw(self, training: bool) -> None:
        """Set the gates of the coming forward pass."""
        ...

    def detach(self) -> None:
        """Take the gates off their model, if they are on one."""
        ...


def _no_draw(training: bool) -> None:
    """Draw nothing: the gates are on no model."""


class Attachment:
    """The gated classes and the hooks that gates have on one model; `detach` takes them off again.

    As a context manager it detaches the gates at the end of the block.
    """

    def __init__(self, model: nn.Module, gates: GroupGates) -> None:
        backbone = model.get_submodule(gates.graph.backbone)
        refuse_reentrant(checkpointing_layers(backbone), "gates")
        self._model, self.wiring = model, Wiring(gates)
        self._swapped: list[tuple[nn.Module, type[nn.Module]]] = []
        self._handles: list[RemovableHandle] = []
        self._draw: Callable[[bool], None] = _no_draw
        self._backbone = weakref.ref(backbone)
        try:
            for group in gates.groups.values():
                self._attach_group(group)
        except ModelError:
            self.detach()
            raise
        recomputing = checkpointing_layers(backbone)

        def draw(training: bool) -> None:
            if training:
                refuse_reentrant(recomputing, "gates")
            gates.draw(training)
            clear_products(self.wiring.stacks)
            self.wiring.refresh()
            drawn = self.wiring.source.current()
            together = drawn.device.type not in APART_ON and not self._ahead
            if together and drawn.requires_grad and torch.is_grad_enabled():
                make_products(self.wiring.stacks)

        # A compiled draw would be one draw, for ever. So a compiled model breaks its graph here, unless the
        # gates were drawn ahead.
        self._draw = torch.compiler.disable(draw)
        self._ahead = self._drawn_ahead = False

        def before_forward(module: nn.Module, _args: tuple[object, ...]) -> None:
            if not self._drawn_ahead:
                self._draw(module.training)

        self._handles.append(backbone.register_forward_pre_hook(before_forward))

    @property
    def training(self) -> bool | None:
        """Whether the gated backbone is in training mode; None if it no longer exists."""
        backbone = self._backbone()
        return None if backbone is None else backbone.training

    @contextmanager
    def drawing_ahead(self) -> Iterator[None]:
        """Draw the gates at once for the one forward pass inside, not at its start.

        A model that was compiled as a whole then stays one graph: it reads the drawn gates as inputs.
        """
        self._ahead = True  # a compiled model multiplies for itself
        try:
            self._draw(self.training is True)
            self._drawn_ahead = True
            yield
        finally:
            self._ahead = self._drawn_ahead = False

    def detach(self) -> None:
        """Give the model's modules their classes back and remove the hooks; the gates keep their values."""
        for module, original in self._swapped:
            restore_class(module, original)
        for handle in self._handles:
            handle.remove()
        self._swapped, self._handles = [], []
        self._draw = _no_draw  # it holds this attachment, and the model's layers
        self.wiring.clear()

    def __enter__(self) -> "Attachment":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()

    def _attach_group(self, group: Group) -> None:
        for part in group.of_role("consumer"):
            self._weight_gate(part.module).columns[group.name] = _unit_of_entry(part, group.size)
        for part in group.of_role("factor"):
            self._weight_gate(part.module).rows[group.name] = _unit_of_entry(part, group.size)
            self._model.get_submodule(part.module).__class__ = FactorLinear
        for path in group.outputs:
            self._weight_gate(path).blocks.append(group.name)
        for path in group.norms:
            self._gate_norm(path, group)
        for split in group.splits:
            read = self._model.get_submodule(split.module)
            _refuse_odd(read, split.module)
            units = torch.from_numpy(split.units).clamp(min=0)
            gate = AxisGate(self.wiring, group.name, units)
            self._swapped.append((read, swap_class(read, gate, SplitLinear)))
        if group.kind == "layer":
            layer = self._model.get_submodule(group.block)
            hook = partial(_mix_layer, AxisGate(self.wiring, group.name, None))
            self._handles.append(layer.register_forward_hook(hook, with_kwargs=True))

    def _gate_norm(self, path: str, group: Group) -> None:
        module = self._model.get_submodule(path)
        if not isinstance(module, nn.LayerNorm):
            return  # a norm of each channel alone needs no gate
        _refuse_odd(module, path)
        width = module.normalized_shape[0]
        units = torch.arange(width) // (width // group.size) if width != group.size else None
        self._swapped.append((module, swap_class(module, AxisGate(self.wiring, group.name, units))))

    def _weight_gate(self, path: str) -> WeightGate:
        """Return the gate of a Linear or convolution; the first call makes it."""
        module = self._model.get_submodule(path)
        gate = gate_of(module)
        if gate is None:
            _refuse_odd(module, path)
            gate = WeightGate(self.wiring)
            self._swapped.append((module, swap_class(module, gate)))
        if not isinstance(gate, WeightGate):
            raise ModelError(f"{path} is a {type(module).__name__} whose weight cannot be gated.")
        return gate


def attach(model: nn.Module, gates: GroupGates) -> Attachment:
    """Take gates off their model, and put them on another `model` of the same graph, such as a copy.

    Returns:
        The attachment. `gates.detach()` takes the gates off again, and so does the end of a `with` block.

    Raises:
        ModelError: a module cannot be gated; the model is then as it was before.
    """
    gates.detach()
    gates.attachment = Attachment(model, gates)
    return gates.attachment


def _mix_layer(
    gate: AxisGate,
    _layer: nn.Module,
    args: tuple[torch.Tensor, ...],
    kwargs: Mapping[str, torch.Tensor],
    output: torch.Tensor | tuple[torch.Tensor, ...],
) -> torch.Tensor | tuple[torch.Tensor, ...]:
    """Return input + gate (output - input): a gate of 0 removes the layer, and 1 leaves it as it is."""
    given = args[0] if args else kwargs["hidden_states"]
    made = output[0] if isinstance(output, tuple) else output
    mixed = mix(given, made, gate.values(made.device, made.dtype))
    return (mixed, *output[1:]) if isinstance(output, tuple) else mixed


def _unit_of_entry(part: ParameterSlice, units: int) -> torch.Tensor:
    unit_of = np.empty(part.index.size, dtype=np.int64)
    unit_of[part.index.ravel()] = np.repeat(np.arange(units), part.width)
    return torch.from_numpy(unit_of)


def _refuse_odd(module: nn.Module, path: str) -> None:
    if gated_class(type(module)) is None:
        raise ModelError(
            f"{path} is a {type(module).__name__}; gates can be attached to plain Linear, Conv1d and "
            "LayerNorm modules. Merge adapters or parametrizations into it first."
        )
