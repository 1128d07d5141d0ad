"""Latency as a cost: a table of measured times, with interpolation between the measured widths."""

import json
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod

import numpy as np
import torch

from prune_ssl.errors import BudgetError
from prune_ssl.runtimes.registry import EAGER
from prune_ssl.tracing import PruningGraph

TABLE_VERSION = 4


@dataclass(frozen=True)
class Segment:
    """One module whose time depends on the widths of one group or two."""

    name: str
    axes: tuple[str, ...]
    grid: tuple[tuple[int, ...], ...]
    """The measured widths of each axis, ascending."""
    times_ns: tuple[int, ...]
    """The time of each point of the grid, the last axis fastest; a time never falls when a width grows."""
    factors: tuple[str, ...] = ()
    """The blocks and layers around the module; if one of them goes, the module takes no time."""

    def at(self, widths: Mapping[str, int]) -> int:
        """Return the time in ns, (bi)linear between the measured points."""
        position = [_place(grid, widths[name]) for grid, name in zip(self.grid, self.axes, strict=True)]
        total, stride = 0.0, len(self.grid[-1])
        for corner in range(2 ** len(position)):
            steps = [corner >> axis & 1 for axis in range(len(position))]
            weight = prod(part if step else 1 - part for step, (_, part) in zip(steps, position, strict=True))
            indices = [low + step for step, (low, _) in zip(steps, position, strict=True)]
            flat = indices[0] if len(indices) == 1 else indices[0] * stride + indices[1]
            total += weight * self.times_ns[flat] if weight else 0.0
        return round(total) * prod(widths[name] for name in self.factors)


def _place(grid: Sequence[int], width: int) -> tuple[int, float]:
    """Return the index of the measured width below, and the part of the way to the next one."""
    low = min(max(bisect_right(grid, width) - 1, 0), len(grid) - 2)
    return low, (width - grid[low]) / (grid[low + 1] - grid[low])


@dataclass(frozen=True)
class LatencyTable:
    """The times of one model's modules on one machine, under one set of conditions. Plain data."""

    machine: dict[str, str]
    """Processor and library versions; a table of another machine is not used."""
    device: str
    threads: int
    seconds: float
    dtype: str
    dense_ns: int
    """The measured time of the whole dense model."""
    rest_ns: int
    """The part of the time that no group changes."""
    segments: tuple[Segment, ...]
    runtime: str = EAGER
    """The runtime in which it was measured, a key of `RUNTIMES`."""

    @property
    def where(self) -> str:
        """The runtime and its device in words, such as `onnx-int8 on cpu`. Eager PyTorch is only a device."""
        return self.device if self.runtime == EAGER else f"{self.runtime} on {self.device}"

    def without(self, gone: Collection[str]) -> "LatencyTable":
        """Return the table without the modules of groups that the model has lost as a whole."""
        left = tuple(part for part in self.segments if not set(gone) & {*part.axes, *part.factors})
        return replace(self, segments=left)

    def of_modules(self, names: Collection[str]) -> "LatencyTable":
        """Return the table of some modules alone, without the time outside them.

        Args:
            names: Names of segments.
        """
        parts = tuple(part for part in self.segments if part.name in names)
        return replace(self, segments=parts, dense_ns=sum(part.times_ns[-1] for part in parts), rest_ns=0)

    def to_json(self) -> str:
        """Return the table as text."""
        return json.dumps({"version": TABLE_VERSION, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "LatencyTable":
        """Read a table that `to_json` wrote.

        Raises:
            BudgetError: the text is no table, or a table of another version.
        """
        try:
            data = json.loads(text)
            if data.pop("version") != TABLE_VERSION:
                raise ValueError("another version")
            data["segments"] = tuple(
                Segment(
                    part["name"],
                    tuple(part["axes"]),
                    tuple(tuple(grid) for grid in part["grid"]),
                    tuple(part["times_ns"]),
                    tuple(part["factors"]),
                )
                for part in data["segments"]
            )
            return cls(**data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BudgetError(
                f"not a latency table ({error}); delete it, so that the next run measures it again."
            ) from error


class LatencyCost:
    """A LatencyTable as the cost, in nanoseconds, of the widths of one graph."""

    def __init__(self, table: LatencyTable, graph: PruningGraph) -> None:
        self.table = table
        self.by_group: dict[str, list[Segment]] = {}
        for segment in table.segments:
            for name in (*segment.axes, *segment.factors):
                if name not in graph.groups:
                    raise BudgetError(
                        f"the latency table times {name}, which this model does not have: it was measured on "
                        "another model. Measure this one."
                    )
                self.by_group.setdefault(name, []).append(segment)
        self._arrays = _Arrays(table, tuple(graph.groups))

    def value(self, widths: Mapping[str, int]) -> int:
        """See CostFunction."""
        return self.table.rest_ns + sum(segment.at(widths) for segment in self.table.segments)

    def marginal(self, group: str, widths: Mapping[str, int]) -> int:
        """Return the mean time of one unit between the least and the greatest measured width."""
        parts = self.by_group.get(group, [])
        if not parts:
            return 0
        grids = [part.grid[part.axes.index(group)] for part in parts if group in part.axes]
        low, high = (grids[0][0], grids[0][-1]) if grids else (0, 1)  # a block or layer is there or not
        return round(self.change(group, high, {**widths, group: low}) / (high - low))

    def change(self, group: str, width: int, widths: Mapping[str, int]) -> int:
        """See CostFunction."""
        changed = {**widths, group: width}
        return sum(segment.at(changed) - segment.at(widths) for segment in self.by_group.get(group, []))

    def coupled(self, group: str) -> set[str]:
        """See CostFunction."""
        parts = self.by_group.get(group, [])
        return {group}.union(*((*part.axes, *part.factors) for part in parts))

    def worthwhile(self, widths: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
        """Drop allowed widths for which a wider one takes no longer on this machine.

        If a group is the only axis of its module, widths without a measurement are dropped too. The smallest
        and the largest are always kept.
        """
        return {name: self._worthwhile(name, list(options)) for name, options in widths.items()}

    def _worthwhile(self, name: str, options: list[int]) -> list[int]:
        segments = [part for part in self.by_group.get(name, []) if name in part.axes]
        if not segments or len(options) < 3:
            return options
        if all(len(part.axes) == 1 for part in segments):
            options = [w for w in options if w in segments[0].grid[0] or w in (options[0], options[-1])]
        full = {axis: part.grid[part.axes.index(axis)][-1] for part in segments for axis in part.axes}
        full |= dict.fromkeys((factor for part in segments for factor in part.factors), 1)
        times = [sum(part.at({**full, name: width}) for part in segments) for width in options]
        inner = [w for i, w in enumerate(options[:-1]) if i and times[i] < min(times[i + 1 :])]
        return [options[0], *inner, options[-1]]

    def expected(self, widths: torch.Tensor) -> torch.Tensor:
        """Return the time for expected widths (groups,), differentiable in each, as a float64 scalar."""
        return self._arrays.total(widths.double())


class _Arrays:
    """The table as padded tensors, in which all segments are interpolated at once."""

    def __init__(self, table: LatencyTable, groups: Sequence[str]) -> None:
        number = {name: index for index, name in enumerate(groups)}
        zero, one = len(number), len(number) + 1  # entries that `total` appends to the widths
        count, most = len(table.segments), max(len(grid) for part in table.segments for grid in part.grid)
        grid, self.values = torch.full((count, 2, most), torch.inf).double(), torch.zeros(count, most, most)
        self.values = self.values.double()
        axes, factors, last = [], [], []
        for row, part in enumerate(table.segments):
            shape = [len(each) for each in part.grid]
            times = np.asarray(part.times_ns, dtype=np.float64).reshape(shape)
            if len(shape) == 1:  # a second axis of two equal points
                times = np.stack([times, times], 1)
            grids = [*part.grid, (0, 1)][:2]
            self.values[row, : times.shape[0], : times.shape[1]] = torch.from_numpy(times)
            for axis, each in enumerate(grids):
                grid[row, axis, : len(each)] = torch.tensor(each, dtype=torch.float64)
            axes.append([*(number[name] for name in part.axes), zero][:2])
            factors.append([*(number[name] for name in part.factors), one, one, one][:3])
            last.append([len(each) - 2 for each in grids])
        self.grid, self.rest = grid, float(table.rest_ns)
        self.axes, self.factors, self.last = torch.tensor(axes), torch.tensor(factors), torch.tensor(last)

    def total(self, widths: torch.Tensor) -> torch.Tensor:
        """Return the time in ns for widths (groups,) float64, a scalar."""
        if self.grid.device != widths.device:
            for name in ("grid", "values", "axes", "factors", "last"):
                setattr(self, name, getattr(self, name).to(widths.device))
        padded = torch.cat([widths, widths.new_tensor([0.0, 1.0])])
        place = padded[self.axes]  # (segments, 2)
        low = torch.searchsorted(self.grid, place.detach().unsqueeze(-1), right=True).squeeze(-1) - 1
        low = torch.minimum(low.clamp_min(0), self.last)
        below, above = (self.grid.gather(-1, (low + k).unsqueeze(-1)).squeeze(-1) for k in (0, 1))
        part = (place - below) / (above - below)
        rows = torch.arange(len(low), device=low.device)
        total = torch.zeros_like(part[:, 0])
        for first in (0, 1):
            for second in (0, 1):
                corner = self.values[rows, low[:, 0] + first, low[:, 1] + second]
                weight = part[:, 0] if first else 1 - part[:, 0]
                total = total + corner * weight * (part[:, 1] if second else 1 - part[:, 1])
        return (total * padded[self.factors].prod(-1)).sum() + self.rest
