"""Gated subclasses of Linear, Conv1d and LayerNorm.

Attaching a gate swaps the class of the user's module; its parameters and keys stay.
"""

from collections.abc import Callable
from typing import ClassVar, TypeVar

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn import functional

from prune_ssl.gating.norms import norm_as_autograd_sees_it, norm_of_open
from prune_ssl.gating.wiring import COLUMNS, INVERSE, OUTPUT, ROWS, AxisGate, WeightGate
from prune_ssl.models import FAMILIES
from prune_ssl.models.torch_internals import version_of

GATE = "prune_ssl_gate"  # instance attribute; not a module or parameter, so state_dict never sees it


def gate_of(module: nn.Module) -> WeightGate | AxisGate | None:
    """Return the gate that is attached to a module, or None."""
    found: WeightGate | AxisGate | None = module.__dict__.get(GATE)
    return found


def _weight_gate(module: nn.Module) -> WeightGate:
    gate: WeightGate = module.__dict__[GATE]
    return gate


def _axis_gate(module: nn.Module) -> AxisGate:
    gate: AxisGate = module.__dict__[GATE]
    return gate


def _column_factors(module: nn.Module) -> torch.Tensor:
    """Return the factor of each column of a module that reads gated units or gives a whole block's output."""
    factors = _weight_gate(module).factors()
    assert factors is not None
    return factors


ModuleT = TypeVar("ModuleT", bound=nn.Module)


def effective(scale: Callable[[ModuleT, torch.Tensor], torch.Tensor]) -> property:
    """Decorate `method(self, own)`: reading the attribute returns `method` applied to the stored parameter.

    That is the parameter of the same name; None stays None. Between forward passes FSDP holds a part of each
    parameter and asks the module for it: it gets the stored one.
    """
    name = scale.__name__

    def read(module: ModuleT) -> torch.Tensor | None:
        own = _stored(module).get(name)
        if own is None or isinstance(own, DTensor):
            return own
        made = _made(module, name, own)
        return scale(module, own) if made is None else made

    return property(read, doc=scale.__doc__)


def _stored(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return a module's own parameters, past the properties of their names."""
    return dict(module.named_parameters(recurse=False))


def factors_of(gate: WeightGate | AxisGate) -> dict[str, tuple[str, ...]]:
    """Return the kinds of factors that multiply each parameter of the module that has a gate."""
    found: dict[str, tuple[str, ...]] = getattr(gate.module, "factors_of", {})
    return found


def _made(module: nn.Module, name: str, own: torch.Tensor | None) -> torch.Tensor | None:
    """Return the effective parameter of this draw if it was made ahead, of these very values."""
    if own is None or torch.compiler.is_compiling():
        return None
    made = module.__dict__[GATE].made.get(name)
    return made.value if made and made.own is own and made.version == version_of(own) else None


class _Gated(nn.Module):
    """Effective weight and bias as properties. Parameters and keys are untouched."""

    factors_of: ClassVar[dict[str, tuple[str, ...]]] = {"weight": (COLUMNS,), "bias": (OUTPUT,)}
    """Parameter -> the kinds of factors that multiply it."""

    @effective
    def weight(self, own: torch.Tensor) -> torch.Tensor:
        """The effective weight (out, in[, kernel])."""
        factors = _column_factors(self).to(own)
        if own.dim() > 2:  # flat rows: a broadcast over the short kernel axis takes six times as long
            factors = factors.view(-1, *[1] * (own.dim() - 2)).expand(own.shape[1:]).flatten()
        return (own.flatten(1) * factors).view_as(own)

    @effective
    def bias(self, own: torch.Tensor) -> torch.Tensor:
        """The effective bias (out,)."""
        block = _weight_gate(self).output()
        return own if block is None else own * block.to(own)


class GatedLinear(_Gated, nn.Linear):
    """A Linear whose columns are gated."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Map (..., in) to (..., out), scaling the smaller of weight and input."""
        own = _stored(self)["weight"]
        if input.numel() >= own.numel() or _made(self, "weight", own) is not None:
            return functional.linear(input, self.weight, self.bias)
        return functional.linear(input * _column_factors(self).to(input), own, self.bias)


class GatedConv1d(_Gated, nn.Conv1d):
    """A Conv1d whose input channels are gated."""


class GatedLayerNorm(nn.LayerNorm):
    """A LayerNorm over gated channels that takes its statistics over the open channels only.

    A channel counts fully or not at all (the indicator z > 0, with a straight-through gradient), so that the
    norm of the cut model, which sees only survivors, is the same function. Outputs of closed channels are
    meaningless; the consumers' columns for them are zero. `OpenRows` says which factor its scale has.
    """

    factors_of: ClassVar[dict[str, tuple[str, ...]]] = {"weight": (INVERSE,)}

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Map (..., C) to (..., C)."""
        values = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        gate, given = _axis_gate(self), (self.weight, self.bias, self.eps)
        if torch.compiler.is_compiling():
            gates = gate.values(input.device)
            weights = ((gates > 0) + (gates - gates.detach())).to(values.dtype)
            normed = norm_as_autograd_sees_it(values, weights, *given)
        else:
            normed = norm_of_open(values, gate.of_open(), *given, _made(self, "weight", self.weight))
        # As the stock norm: half-precision weights give half-precision outputs, autocast gives float32.
        return normed.to(input.dtype if self.weight is None else self.weight.dtype)


class GatedChannelNorm(GatedLayerNorm):
    """The same over the second axis of (B, C, T), for the `channel_norms` of a family."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Map (B, C, T) to (B, C, T)."""
        return super().forward(input.transpose(-2, -1)).transpose(-2, -1)


class FactorLinear(GatedLinear):
    """A query or key projection whose output rows are gated too: closed head dimensions drop out of q k^T."""

    factors_of: ClassVar[dict[str, tuple[str, ...]]] = {"weight": (ROWS, COLUMNS), "bias": (ROWS,)}

    def _rows(self) -> torch.Tensor:
        """Return the factor of each row, (out,)."""
        factors = _weight_gate(self).of_rows()
        assert factors is not None
        return factors

    @effective
    def weight(self, own: torch.Tensor) -> torch.Tensor:
        """The effective weight (out, in)."""
        columns, rows = _weight_gate(self).factors(), self._rows()[:, None]
        return own * (rows if columns is None else rows * columns).to(own)

    @effective
    def bias(self, own: torch.Tensor) -> torch.Tensor:
        """The effective bias (out,)."""
        return own * self._rows().to(own)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Map (..., in) to (..., out)."""
        return functional.linear(input, self.weight, self.bias)


class GatedAttention(nn.MultiheadAttention):
    """Torch's own attention whose one input projection reads gated units."""

    factors_of: ClassVar[dict[str, tuple[str, ...]]] = {"in_proj_weight": (COLUMNS,)}

    @effective
    def in_proj_weight(self, own: torch.Tensor) -> torch.Tensor:
        """The effective weight (3 D, in)."""
        return own * _column_factors(self).to(own)


class SplitLinear(nn.Linear):
    """A Linear that reads gated units head by head (WavLM's position gate): its input is scaled."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Map (B, H, T, in) to (B, H, T, out)."""
        gates = _axis_gate(self).values(input.device, input.dtype)
        return super().forward(input * gates[:, None, :])


GATED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: GatedLinear,
    # torch's own attention holds its output layer as this subclass.
    nn.modules.linear.NonDynamicallyQuantizableLinear: GatedLinear,
    nn.Conv1d: GatedConv1d,
    nn.LayerNorm: GatedLayerNorm,
    nn.MultiheadAttention: GatedAttention,
}
"""Class of a module -> its gated class; the norms over channels are in the table of families."""


def gated_class(original: type[nn.Module]) -> type[nn.Module] | None:
    """Return the gated class for a class of modules, None where there is none.

    >>> gated_class(nn.Linear).__name__
    'GatedLinear'
    """
    if any(original in family.channel_norms for family in FAMILIES.values()):
        return GatedChannelNorm
    return GATED.get(original)


def swap_class(
    module: nn.Module, gate: WeightGate | AxisGate, gated: type[nn.Module] | None = None
) -> type[nn.Module]:
    """Give `module` its gated class and gate; return the class it had. Undo with `restore_class`."""
    original = type(module)
    made = gated or gated_class(original)
    assert made is not None  # attaching has refused the others
    setattr(module, GATE, gate)
    gate.module = module
    if isinstance(gate, AxisGate):
        gate.normed = issubclass(made, GatedLayerNorm)
    gate.alike = made, tuple((name, own.shape, own.dtype) for name, own in _stored(module).items())
    module.__class__ = made
    return original


def restore_class(module: nn.Module, original: type[nn.Module]) -> None:
    """Undo `swap_class`."""
    module.__class__ = original
    module.__dict__.pop(GATE).module = None
