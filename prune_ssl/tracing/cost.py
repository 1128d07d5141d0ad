"""Parameters and MACs of any keep: one formula, used by budgets, gates and reports alike."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch

SAMPLE_RATE_HZ = 16_000
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
    by_section: dict[str, SectionCost]
    by_layer: dict[str, SectionCost]

    @property
    def flops(self) -> int:
        """Two FLOPs per MAC."""
        return 2 * self.macs


@dataclass(frozen=True)
class Clock:
    """How often a module runs, as a function of the audio length.

    `conv`: once per output frame of frontend layer `index`, plus `offset`; `square`: once per pair of frames
    of that layer; `once`: once per utterance; `never`: not in the forward pass.
    """

    kind: Literal["conv", "square", "once", "never"]
    index: int = 0
    offset: int = 0


@dataclass(frozen=True)
class CostTerm:
    """One parameter's (or one attention product's) share of the cost: a coefficient times some widths.

    The parameters are `params * prod(widths)`, the MACs `macs * ticks(clock) * prod(widths)`, where a width
    is the number of kept units of the group that is named (methods 1.4 written as data).
    """

    name: str
    section: str
    layer: str
    params: int
    macs: int
    clock: Clock
    widths: tuple[str, ...]


def conv_frames(samples: int, kernels: Sequence[tuple[int, int]]) -> list[int]:
    """Return the frames after each convolution: T_i = floor((T_{i-1} - k_i) / s_i) + 1, never below 0."""
    frames = []
    for kernel, stride in kernels:
        samples = max((samples - kernel) // stride + 1, 0)
        frames.append(samples)
    return frames


def ticks(clock: Clock, frames: Sequence[int]) -> int:
    """Return how often a module with this clock runs when the frontend's layers have these frames."""
    if clock.kind == "never":
        return 0
    if clock.kind == "once":
        return 1
    count = frames[clock.index]
    return count * count if clock.kind == "square" else count + clock.offset


def total(terms: Sequence[CostTerm], widths: Mapping[str, int], frames: Sequence[int]) -> tuple[int, int]:
    """Return (params, macs) of the terms, exactly, for integer widths."""
    params = macs = 0
    for term in terms:
        width = prod(widths[name] for name in term.widths)
        params += term.params * width
        macs += term.macs * width * ticks(term.clock, frames)
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
    Gates are drawn independently, so a product of expected widths is the expected product (methods 1.4).
    """

    def __init__(self, terms: Sequence[CostTerm], metric: Metric, frames: Sequence[int]) -> None:
        self.coefficients: dict[tuple[str, ...], int] = {}
        for term in terms:
            value = term.params if metric == "params" else term.macs * ticks(term.clock, frames)
            if value:
                self.coefficients[term.widths] = self.coefficients.get(term.widths, 0) + value
        self.by_group: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
        for names, value in self.coefficients.items():
            for name in names:
                others = tuple(other for other in names if other != name)
                self.by_group.setdefault(name, []).append((value, others))

    def value(self, widths: Mapping[str, int]) -> int:
        """Return the exact cost for integer widths."""
        return sum(value * prod(widths[name] for name in names) for names, value in self.coefficients.items())

    def marginal(self, group: str, widths: Mapping[str, int]) -> int:
        """Return what one unit of `group` costs while the other groups have these widths."""
        return sum(
            value * prod(widths[name] for name in others) for value, others in self.by_group.get(group, [])
        )

    def expected(self, widths: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the cost for expected widths (scalars), differentiable in each, as a float64 scalar."""
        parts = []
        for names, value in self.coefficients.items():
            part = torch.tensor(float(value), dtype=torch.float64)
            for name in names:
                part = part.to(widths[name].device) * widths[name].double()
            parts.append(part)
        device = next(iter(widths.values())).device
        return torch.stack([part.to(device) for part in parts]).sum()
