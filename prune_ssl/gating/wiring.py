"""Wiring: one gather of the drawn gates gives every gated module its factors."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import nn

from prune_ssl.gating.norms import OpenRows
from prune_ssl.gating.segments import Gather

COLUMNS, ROWS, OUTPUT, AXIS = "columns", "rows", "output", "axis"
SHARE, REACH, INVERSE = "share", "reach", "inverse"
Read = tuple[str, torch.Tensor]
"""A group, and its unit that each entry reads, (entries,)."""


class GateSource(Protocol):
    """The gates of some groups, in one tensor."""

    spans: dict[str, slice]
    """The slice of each group in the gates."""

    def current(self) -> torch.Tensor:
        """Return the gates of the present forward pass, (units,)."""
        ...


@dataclass(frozen=True, eq=False)
class Product:
    """A parameter times the factors of a draw."""

    own: torch.Tensor
    version: int
    """How often the parameter had been changed in place when it was multiplied."""
    value: torch.Tensor


class Wiring:
    """Gives the gates of all modules of one model their factors, with one gather for each draw.

    Modules ask for their factors many times in a forward and backward pass. A loop over modules at each of
    these would launch thousands of small kernels on a GPU.
    """

    def __init__(self, source: GateSource) -> None:
        self.source = source
        self.gates: list[WeightGate | AxisGate] = []
        self._plan: _Plan | None = None
        self._drawn: torch.Tensor | None = None

    @property
    def stacks(self) -> tuple["Stack", ...]:
        """The gates that are alike, together, with the factors of the present draw."""
        return () if self._plan is None else self._plan.stacks

    def clear(self) -> None:
        """Let go of the gates of the modules and of the present draw. Each gate holds its wiring."""
        self.gates.clear()
        self._plan = self._drawn = None

    def refresh(self) -> None:
        """Give all gates the factors of the present draw, if they have not got them."""
        if torch.compiler.is_compiling():
            return  # a compiled forward pass reads the factors as inputs; they were drawn before it
        drawn = self.source.current()
        if drawn is self._drawn:
            return
        if self._plan is None or self._plan.device != drawn.device:
            self._plan = _Plan.of(self.source, self.gates, drawn.device)
        # The first to ask may be without gradients, or in inference mode; later ones need them.
        with torch.inference_mode(False), torch.enable_grad():
            self._plan.give(drawn)
        self._drawn = drawn


@dataclass(eq=False)
class WeightGate:
    """Scales a weight's columns by the gates of the units that they read, and its output by whole blocks'."""

    wiring: Wiring
    columns: dict[str, torch.Tensor] = field(default_factory=dict)
    """Group -> (columns,) unit of each column."""
    rows: dict[str, torch.Tensor] = field(default_factory=dict)
    """Group -> (rows,) unit of each row, for a FactorLinear."""
    blocks: list[str] = field(default_factory=list)
    """Groups of one unit, whose output this module's is."""
    found: dict[str, torch.Tensor] = field(default_factory=dict)
    """The factors of the present draw."""
    module: nn.Module | None = None
    """The module that has this gate."""
    alike: Hashable = None
    """Equal for modules of one class whose parameters have equal shapes."""
    made: "dict[str, Product]" = field(default_factory=dict)
    """Effective parameters of the present draw, where those of modules that are alike were made together."""

    def __post_init__(self) -> None:
        self.wiring.gates.append(self)

    def reads(self) -> dict[str, list[Read]]:
        """Return the units whose gates are multiplied for each kind of factor."""
        width = max((len(units) for units in self.columns.values()), default=1)
        first = torch.zeros(1, dtype=torch.long)
        blocks = [(group, first) for group in self.blocks]
        whole = [(group, first.expand(width)) for group in self.blocks]
        every = {COLUMNS: [*self.columns.items(), *whole], ROWS: [*self.rows.items()], OUTPUT: blocks}
        return {kind: reads for kind, reads in every.items() if reads}

    def factors(self) -> torch.Tensor | None:
        """Return the factor of each column, (columns,) or (1,)."""
        self.wiring.refresh()
        return self.found.get(COLUMNS)

    def of_rows(self) -> torch.Tensor | None:
        """Return the factor of each row, (out,), or None."""
        self.wiring.refresh()
        return self.found.get(ROWS)

    def output(self) -> torch.Tensor | None:
        """Return the factor of the whole output, (1,), or None."""
        self.wiring.refresh()
        return self.found.get(OUTPUT)


@dataclass(eq=False)
class AxisGate:
    """Gates one axis of a module's input by the units of one group."""

    wiring: Wiring
    group: str
    units: torch.Tensor | None
    """(entries,), or of more dimensions, unit of each entry of the axis; None: entry i is unit i."""
    found: dict[str, torch.Tensor] = field(default_factory=dict)
    module: nn.Module | None = None
    alike: Hashable = None
    made: "dict[str, Product]" = field(default_factory=dict)
    normed: bool = False
    """Whether the module is a norm over the axis."""

    def __post_init__(self) -> None:
        self.wiring.gates.append(self)

    def reads(self) -> dict[str, list[Read]]:
        """Return the unit of each entry."""
        span = self.wiring.source.spans[self.group]
        units = torch.arange(span.stop - span.start) if self.units is None else self.units.flatten()
        return {AXIS: [(self.group, units)]}

    def of_open(self) -> OpenRows:
        """Return what a norm needs of the gates, (entries,) each."""
        self.wiring.refresh()
        return OpenRows(*(self.found[kind] for kind in (SHARE, REACH, INVERSE)))

    def values(self, device: torch.device, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Return the gate of each entry, in the shape of `units`, on `device`."""
        self.wiring.refresh()
        found = self.found[AXIS].to(device, dtype)
        return found if self.units is None else found.view(self.units.shape)


@dataclass(frozen=True)
class _Level:
    """One gather: the units that the entries read, and how to sum their gradients in order."""

    index: torch.Tensor
    order: torch.Tensor
    offsets: torch.Tensor

    @classmethod
    def of(cls, index: torch.Tensor, units: int, device: torch.device) -> "_Level":
        counts = torch.bincount(index, minlength=units)
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return cls(*(each.to(device) for each in (index, index.argsort(stable=True), offsets)))

    def of_gates(self, gates: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = Gather.apply(gates, self.index, self.order, self.offsets)  # type: ignore[no-untyped-call]
        return found


@dataclass(eq=False)
class Stack:
    """Gates whose modules are alike. One operation on their stacked tensors serves all of them."""

    gates: "tuple[WeightGate | AxisGate, ...]"
    factors: dict[str, torch.Tensor] = field(default_factory=dict)
    """Kind -> (gates, entries), the factors of the present draw."""

    def give(self, kind: str, factors: torch.Tensor) -> None:
        """Give each gate its row of the factors (gates, entries); norms get what follows from them, too."""
        self.factors[kind] = factors
        for gate, row in zip(self.gates, factors.unbind(), strict=True):
            gate.found[kind] = row
        if kind == AXIS and all(isinstance(gate, AxisGate) and gate.normed for gate in self.gates):
            for name, rows in zip((SHARE, REACH, INVERSE), OpenRows.of(factors), strict=True):
                self.give(name, rows)


def _stacked(gates: Sequence["WeightGate | AxisGate"]) -> list[tuple[Stack, dict[str, list[list[Read]]]]]:
    """Return the stacks, each with the reads of its gates by kind."""
    found: dict[Hashable, list[tuple[WeightGate | AxisGate, dict[str, list[Read]]]]] = {}
    for gate in gates:
        reads = gate.reads()
        sizes = tuple((kind, len(of_kind[0][1])) for kind, of_kind in reads.items())
        found.setdefault((gate.alike, sizes), []).append((gate, reads))
    return [
        (
            Stack(tuple(gate for gate, _ in members)),
            {kind: [reads[kind] for _, reads in members] for kind in members[0][1]},
        )
        for members in found.values()
    ]


@dataclass(frozen=True)
class _Plan:
    """The gathers of all gates. The factors of an entry are the products over the levels."""

    device: torch.device
    levels: tuple[_Level, ...]
    stacks: tuple[Stack, ...]
    places: tuple[tuple[Stack, str], ...]
    shapes: tuple[tuple[int, int], ...]
    """(gates, entries) of each place."""

    @classmethod
    def of(
        cls, source: GateSource, gates: Sequence["WeightGate | AxisGate"], device: torch.device
    ) -> "_Plan":
        units = max((span.stop for span in source.spans.values()), default=0)
        stacked = _stacked(gates)
        places = [(stack, kind, reads) for stack, kinds in stacked for kind, reads in kinds.items()]
        slots = [reads for _, _, members in places for reads in members]
        depth = max((len(reads) for reads in slots), default=0)
        levels = []
        for level in range(depth):
            index = []
            for reads in slots:
                if level < len(reads):
                    group, entries = reads[level]
                    index.append(entries + source.spans[group].start)
                else:  # one more "unit", which is always open
                    index.append(torch.full((len(reads[0][1]),), units, dtype=torch.long))
            levels.append(_Level.of(torch.cat(index), units + (level > 0), device))
        shapes = tuple((len(members), len(members[0][0][1])) for _, _, members in places)
        stacks = tuple(stack for stack, _ in stacked)
        return cls(device, tuple(levels), stacks, tuple((stack, kind) for stack, kind, _ in places), shapes)

    def give(self, drawn: torch.Tensor) -> None:
        if not self.levels:
            return
        factors = self.levels[0].of_gates(drawn)
        for level in self.levels[1:]:
            factors = factors * level.of_gates(torch.cat([drawn, drawn.new_ones(1)]))
        parts = factors.split([gates * entries for gates, entries in self.shapes])
        for (stack, kind), shape, part in zip(self.places, self.shapes, parts, strict=True):
            stack.give(kind, part.view(shape))
