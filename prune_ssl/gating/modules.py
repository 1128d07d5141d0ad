"""Gated twins of Linear, Conv1d and LayerNorm: the user's own modules with one class-level property more."""

from typing import Any, Protocol

import torch
from torch import nn

GATE = "prune_ssl_gate"  # instance attribute; not a module or parameter, so state_dict never sees it


class GateSource(Protocol):
    """What a gated module asks for: the current gates of its group."""

    def values(self, group: str) -> torch.Tensor:
        """Return the gates of `group`, (units,)."""
        ...


class ColumnGate:
    """Scales the columns of a consumer's weight by the gates of the units that they read."""

    def __init__(self, source: GateSource, group: str, columns: torch.Tensor) -> None:
        self.source, self.group = source, group
        self.columns = columns  # (columns,) unit of each column

    def scale(self, weight: torch.Tensor) -> torch.Tensor:
        """Return `weight` (out, in[, kernel]) with column j times the gate of unit columns[j]."""
        gates = self.source.values(self.group)
        if self.columns.device != gates.device:
            self.columns = self.columns.to(gates.device)
        factors = gates if len(gates) == len(self.columns) else gates[self.columns]
        return weight * factors.to(weight).view(1, -1, *[1] * (weight.dim() - 2))


class GatedLinear(nn.Linear):
    """A Linear whose `weight` is its parameter with gated columns. Parameters and keys are untouched."""

    @property
    def weight(self) -> torch.Tensor:  # type: ignore[override]
        """The effective weight (out, in)."""
        scaled: torch.Tensor = self.__dict__[GATE].scale(self._parameters["weight"])
        return scaled


class GatedConv1d(nn.Conv1d):
    """A Conv1d whose `weight` is its parameter with gated input channels."""

    @property
    def weight(self) -> torch.Tensor:  # type: ignore[override]
        """The effective weight (out, in, kernel)."""
        scaled: torch.Tensor = self.__dict__[GATE].scale(self._parameters["weight"])
        return scaled


class GatedLayerNorm(nn.LayerNorm):
    """A LayerNorm over gated channels that takes its statistics over the open channels only.

    A channel counts fully or not at all (the indicator z > 0, with a straight-through gradient), so that the
    norm of the cut model, which sees only survivors, is the same function. Outputs of closed channels are
    meaningless; the consumers' columns for them are zero.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Map (..., C) to (..., C)."""
        source, group = self.__dict__[GATE]
        gates: torch.Tensor = source.values(group).to(input.device)
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
        return normed


GATED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: GatedLinear,
    nn.Conv1d: GatedConv1d,
    nn.LayerNorm: GatedLayerNorm,
}


def swap_class(module: nn.Module, gate: Any) -> type[nn.Module]:
    """Give `module` its gated class and gate; return the class it had. Undo with `restore_class`."""
    original = type(module)
    setattr(module, GATE, gate)
    module.__class__ = GATED[original]
    return original


def restore_class(module: nn.Module, original: type[nn.Module]) -> None:
    """Undo `swap_class`."""
    module.__class__ = original
    delattr(module, GATE)
