"""Gated twins of Linear, Conv1d and LayerNorm: the user's own modules with class-level properties more."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn import functional
from torchaudio.models.wav2vec2.components import LayerNorm as TransposedLayerNorm

GATE = "prune_ssl_gate"  # instance attribute; not a module or parameter, so state_dict never sees it


class GateSource(Protocol):
    """What a gated module asks for: the current gates of a group."""

    def values(self, group: str) -> torch.Tensor:
        """Return the gates of `group`, (units,)."""
        ...


class WeightGate:
    """Scales a weight's columns by the gates of the units that they read, and its output by whole blocks'."""

    def __init__(self, source: GateSource) -> None:
        self.source = source
        self.columns: dict[str, torch.Tensor] = {}  # group -> (columns,) unit of each column
        self.rows: dict[str, torch.Tensor] = {}  # group -> (rows,) unit of each row, for a FactorLinear
        self.blocks: list[str] = []  # groups of one unit, whose output this module's is

    def factors(self) -> torch.Tensor | None:
        """Return the factor of each column, (columns,) or (1,)."""
        factors: torch.Tensor | None = None
        for group, columns in self.columns.items():
            gates = self.source.values(group)
            if columns.device != gates.device:
                self.columns[group] = columns = columns.to(gates.device)
            each = gates if len(gates) == len(columns) else gates[columns]
            factors = each if factors is None else factors * each
        block = self.output()
        return factors if block is None else block if factors is None else factors * block

    def output(self) -> torch.Tensor | None:
        """Return the factor of the whole output, (1,), or None."""
        product: torch.Tensor | None = None
        for group in self.blocks:
            gate = self.source.values(group)
            product = gate if product is None else product * gate
        return product


def effective(scale: Callable[[Any, Any], torch.Tensor | None]) -> property:
    """Make a method (self, own) a property that stands before the parameter of its name.

    Between forward passes FSDP holds a part of each parameter and asks the module for it: that is its own.
    """
    name = scale.__name__

    def read(module: nn.Module) -> torch.Tensor | None:
        own = module._parameters[name]
        return own if isinstance(own, DTensor) else scale(module, own)

    return property(read, doc=scale.__doc__)


class _Gated(nn.Module):
    """Effective weight and bias as properties. Parameters and keys are untouched."""

    @effective
    def weight(self, own: Any) -> torch.Tensor:
        """The effective weight (out, in[, kernel])."""
        factors = self.__dict__[GATE].factors().to(own)
        if own.dim() > 2:  # flat rows: a broadcast over the short kernel axis takes six times as long
            factors = factors.view(-1, *[1] * (own.dim() - 2)).expand(own.shape[1:]).flatten()
        scaled: torch.Tensor = own.flatten(1) * factors
        return scaled.view_as(own)

    @effective
    def bias(self, own: Any) -> torch.Tensor | None:
        """The effective bias (out,)."""
        block = self.__dict__[GATE].output()
        if own is None or block is None:
            return own  # type: ignore[no-any-return]
        scaled: torch.Tensor = own * block.to(own)
        return scaled


class GatedLinear(_Gated, nn.Linear):
    """A Linear whose columns are gated."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Map (..., in) to (..., out), scaling the smaller of weight and input."""
        own: Any = self._parameters["weight"]
        if input.numel() >= own.numel():
            return functional.linear(input, self.weight, self.bias)
        factors = self.__dict__[GATE].factors()
        return functional.linear(input * factors.to(input), own, self.bias)


class GatedConv1d(_Gated, nn.Conv1d):
    """A Conv1d whose input channels are gated."""


class GatedLayerNorm(nn.LayerNorm):
    """A LayerNorm over gated channels that takes its statistics over the open channels only.

    A channel counts fully or not at all (the indicator z > 0, with a straight-through gradient), so that the
    norm of the cut model, which sees only survivors, is the same function. Outputs of closed channels are
    meaningless; the consumers' columns for them are zero.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Map (..., C) to (..., C)."""
        source, group, units = self.__dict__[GATE]
        gates: torch.Tensor = source.values(group).to(input.device)
        if units is not None:
            gates = gates[units.to(gates.device)]
        values = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        weights = ((gates > 0) + (gates - gates.detach())).to(values.dtype)
        count = weights.sum().clamp_min(1)
        mean = (values * weights).sum(-1, keepdim=True) / count
        centred = values - mean
        variance = (centred.square() * weights).sum(-1, keepdim=True) / count
        normed = centred * torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            normed = normed * self.weight
        if self.bias is not None:
            normed = normed + self.bias
        # As the stock norm: half-precision weights give half-precision outputs, autocast gives float32.
        return normed.to(input.dtype if self.weight is None else self.weight.dtype)


class GatedTransposedLayerNorm(GatedLayerNorm, TransposedLayerNorm):  # type: ignore[misc]
    """The same over the second axis of (B, C, T), as torchaudio's convolutional frontends have it."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Map (B, C, T) to (B, C, T)."""
        return super().forward(input.transpose(-2, -1)).transpose(-2, -1)


class FactorLinear(GatedLinear):
    """A Linear of queries or keys whose rows are gated too: a product with it loses a dimension's part."""

    def _rows(self) -> torch.Tensor:
        """Return the factor of each row, (out,)."""
        gate, factors = self.__dict__[GATE], torch.ones(())
        for group, rows in gate.rows.items():
            gates: torch.Tensor = gate.source.values(group)
            factors = gates[rows.to(gates.device)] * factors.to(gates)
        return factors

    @effective
    def weight(self, own: Any) -> torch.Tensor:
        """The effective weight (out, in)."""
        columns, rows = self.__dict__[GATE].factors(), self._rows()[:, None]
        scaled: torch.Tensor = own * (rows if columns is None else rows * columns).to(own)
        return scaled

    @effective
    def bias(self, own: Any) -> torch.Tensor | None:
        """The effective bias (out,)."""
        return own if own is None else own * self._rows().to(own)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Map (..., in) to (..., out)."""
        return functional.linear(input, self.weight, self.bias)


class GatedAttention(nn.MultiheadAttention):
    """Torch's own attention whose one input projection reads gated units."""

    @effective
    def in_proj_weight(self, own: Any) -> torch.Tensor:
        """The effective weight (3 D, in)."""
        scaled: torch.Tensor = own * self.__dict__[GATE].factors().to(own)
        return scaled


class SplitLinear(nn.Linear):
    """A Linear that reads gated units head by head (WavLM's position gate): its input is scaled."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Map (B, H, T, in) to (B, H, T, out)."""
        source, group, units = self.__dict__[GATE]
        gates: torch.Tensor = source.values(group).to(input)
        return super().forward(input * gates[units.to(gates.device)][:, None, :])


GATED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: GatedLinear,
    # torch's own attention holds its output layer as this subclass.
    nn.modules.linear.NonDynamicallyQuantizableLinear: GatedLinear,
    nn.Conv1d: GatedConv1d,
    nn.LayerNorm: GatedLayerNorm,
    nn.MultiheadAttention: GatedAttention,
    TransposedLayerNorm: GatedTransposedLayerNorm,
}


def swap_class(module: nn.Module, gate: Any, gated: type[nn.Module] | None = None) -> type[nn.Module]:
    """Give `module` its gated class and gate; return the class it had. Undo with `restore_class`."""
    original = type(module)
    setattr(module, GATE, gate)
    module.__class__ = gated or GATED[original]
    return original


def restore_class(module: nn.Module, original: type[nn.Module]) -> None:
    """Undo `swap_class`."""
    module.__class__ = original
    delattr(module, GATE)
