"""Parameters and MACs of any keep: one formula, used by budgets, gates and reports alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Literal

import torch

SECTIONS = ("frontend", "projection", "position", "encoder", "head")
Metric = Literal["params", "macs"]


@dataclass(frozen=True)
class SectionCost:
    """Parameters and MACs of one part of a model."""

    params: int
    macs: int


@dataclass(frozen=True)
class Cost:
    """Parameters and MACs (batch 1) of a whole model for an audio length, with their parts.

    A MAC is one multiply-add of a convolution, a linear layer or an attention product; nothing else counts.
    """

    params: int
    macs: int
    seconds: float
    by_section: dict[str, SectionCost] = field(repr=False)
    by_layer: dict[str, SectionCost] = field(repr=False)

    @property
    def flops(self) -> int:
        """Two FLOPs per MAC."""
        return 2 * self.macs


@dataclass(frozen=True)
class Clock:
    """How often something happens in one utterance: c0 + c1 T + c2 T^2, T frames after kernel `index`."""

    index: int = 0
    coefficients: tuple[int, int, int] = (0, 0, 0)

    def ticks(self, frames: Sequence[int]) -> int:
        """Return the count when the frames after each kernel are these."""
        count = frames[self.index]
        constant, linear, square = self.coefficients
        return constant + linear * count + square * count * count


NEVER = Clock()


@dataclass(frozen=True)
class CostTerm:
    """One parameter's (or one product's) share of the cost: a coefficient times some widths.

    The parameters are `params * prod(widths)`, the MACs `macs * clock * prod(widths)`, where a width is the
    number of kept units of the group that is named (methods 1.4 written as data). All is zero when a group of
    `needs` is empty: a part that only serves its units goes with the last of them.
    """

    name: str
    section: str
    layer: str
    params: int
    macs: int
    clock: Clock
    widths: tuple[str, ...]
    needs: tuple[str, ...] = ()


def conv_frames(samples: int, kernels: Sequence[tuple[int, int]]) -> list[int]:
    """Return the frames after each convolution: T_i = floor((T_{i-1} - k_i) / s_i) + 1, never below 0."""
    frames = []
    for kernel, stride in kernels:
        samples = max((samples - kernel) // stride + 1, 0)
        frames.append(samples)
    return frames


def total(terms: Sequence[CostTerm], widths: Mapping[str, int], frames: Sequence[int]) -> tuple[int, int]:
    """Return (params, macs) of the terms, exactly, for integer widths."""
    params = macs = 0
    for term in terms:
        if not all(widths[name] for name in term.needs):
            continue
        width = prod(widths[name] for name in term.widths)
        params += term.params * width
        macs += term.macs * width * term.clock.ticks(frames)
    return params, macs


def evaluate(
    terms: Sequence[CostTerm], widths: Mapping[str, int], frames: Sequence[int], seconds: float
) -> Cost:
    """Return the exact Cost, with its parts by section and by layer."""

    def part(key: Callable[[CostTerm], str]) -> dict[str, SectionCost]:
        names = dict.fromkeys(key(term) for term in terms)
        return {
            name: SectionCost(*total([term for term in terms if key(term) == name], widths, frames))
            for name in names
        }

    params, macs = total(terms, widths, frames)
    return Cost(params, macs, seconds, part(lambda term: term.section), part(lambda term: term.layer))


class Polynomial:
    """The cost of a set of terms as a multilinear polynomial in the groups' widths.

    Terms over the same groups are merged, so that a value costs a few products, and derivatives are exact.
    Gates are drawn independently, so a product of expected widths is the expected product (methods 1.4). What
    `CostTerm.needs` says is left out: the value is then above the exact cost, by very little.
    """

    def __init__(
        self, terms: Sequence[CostTerm], metric: Metric, frames: Sequence[int], groups: Sequence[str]
    ) -> None:
        self.coefficients: dict[tuple[str, ...], int] = {}
        for term in terms:
            value = term.params if metric == "params" else term.macs * term.clock.ticks(frames)
            if value:
                names = tuple(sorted(term.widths))
                self.coefficients[names] = self.coefficients.get(names, 0) + value
        self.by_group: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
        for names, value in self.coefficients.items():
            for name in names:
                others = tuple(other for other in names if other != name)
                self.by_group.setdefault(name, []).append((value, others))
        self.groups = tuple(groups)
        self._factors, self._values = self._as_arrays()

    def _as_arrays(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (terms, degree) numbers of groups, padded with len(groups), and (terms,) coefficients."""
        number = {name: index for index, name in enumerate(self.groups)}
        degree = max((len(names) for names in self.coefficients), default=0)
        rows = [
            [number[name] for name in names] + [len(number)] * (degree - len(names))
            for names in self.coefficients
        ]
        return torch.tensor(rows), torch.tensor(list(self.coefficients.values()), dtype=torch.float64)

    def value(self, widths: Mapping[str, int]) -> int:
        """Return the cost for integer widths."""
        return sum(value * prod(widths[name] for name in names) for names, value in self.coefficients.items())

    def marginal(self, group: str, widths: Mapping[str, int]) -> int:
        """Return the cost of one unit of `group` while the other groups have these widths."""
        return sum(
            value * prod(widths[name] for name in others) for value, others in self.by_group.get(group, [])
        )

    def expected(self, widths: torch.Tensor) -> torch.Tensor:
        """Return the cost for expected widths (groups,), differentiable in each, as a scalar of `widest`."""
        if self._factors.device != widths.device:
            values = self._values.to(torch.float32) if widths.device.type == "mps" else self._values
            self._factors, self._values = self._factors.to(widths.device), values.to(widths.device)
        wide = widest(widths)
        padded = torch.cat([wide, wide.new_ones(1)])
        products = self._values
        for column in self._factors.unbind(1) if self._factors.dim() == 2 else ():
            products = products * padded[column]
        return products.sum()


def widest(values: torch.Tensor) -> torch.Tensor:
    """Return values in float64, in which costs are summed; in float32 on MPS, which has no float64."""
    return values.float() if values.device.type == "mps" else values.double()
