"""The parts of a model whose times a latency table holds, and the widths at which they are measured."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from statistics import median

import numpy as np
import numpy.typing as npt

from prune_ssl.selection.latency import Segment
from prune_ssl.tracing import Group, PruningGraph

POINTS = 13  # covers all head counts of a Base model
GRID_STEP = 8  # measured widths of channels and neurons are multiples of this
FRONTEND = re.compile(r"conv\.(\d+)$")

Times = dict[tuple[str, tuple[int, ...]], list[float]]
"""(parts of equal shape, widths of their axes) -> the times in ns that were found."""


@dataclass(frozen=True)
class Part:
    """One module to time, the groups on whose widths it depends, and the widths to measure."""

    name: str
    module: str
    axes: tuple[str, ...]
    grid: tuple[tuple[int, ...], ...]
    factors: tuple[str, ...]
    alike: str
    """Parts with the same text have the same shape, and share their times."""


def parts_of(graph: PruningGraph, conv_points: int) -> list[Part]:
    """Return the modules to time.

    Args:
        graph: The graph of the dense model.
        conv_points: The number of widths of a convolution. Its time depends on those of two.
    """
    parts = []
    for name, group in graph.groups.items():
        frontend = FRONTEND.match(name)
        around = {other for term in graph.terms if name in term.widths for other in term.widths}
        factors = tuple(other for other in around if graph.groups[other].kind in ("block", "layer"))
        if frontend:
            before = f"conv.{int(frontend.group(1)) - 1}"
            axes = (before, name) if before in graph.groups else (name,)
            module = group.of_role("producer")[0].module.rpartition(".")[0]
            alike = name
        elif group.block and group.kind in ("heads", "ffn", "conv"):
            axes, module = (name,), _around(group)
            alike = f"{group.kind} {group.size} {re.sub('[0-9]+', '*', module)}"
        else:
            continue
        grid = tuple(_grid(graph.groups[axis], conv_points) for axis in axes)
        parts.append(Part(name, module, axes, grid, factors, alike))
    return parts


def _around(group: Group) -> str:
    """Return the smallest module that contains all producers and consumers of a group's units."""
    ends = [part.module.split(".") for role in ("producer", "consumer") for part in group.of_role(role)]
    shared = takewhile(lambda level: len(set(level)) == 1, zip(*ends, strict=False))
    return ".".join(level[0] for level in shared)


def _grid(group: Group, conv_points: int) -> tuple[int, ...]:
    """Return the widths to measure: evenly spaced multiples of a step, from the smallest to all units."""
    count = conv_points if FRONTEND.match(group.name) else POINTS
    step = 1 if group.kind == "heads" else GRID_STEP
    least = min(step, max(group.size // 2, 1)) if group.minimum else 0
    inner = {step * round(float(width) / step) for width in np.linspace(least, group.size, count)}
    return tuple(sorted({least, group.size, *(width for width in inner if least < width < group.size)}))


def keeps_of(parts: Sequence[Part], conv_points: int) -> Iterator[dict[str, list[int]]]:
    """Yield the keeps of copies in which every pair of widths of neighbouring convolutions occurs once.

    Modules of equal shape have different widths in one copy, so that a disturbance of a whole copy does not
    make one width look slow.
    """
    turns = {part.name: sum(each.alike == part.alike for each in parts[:at]) for at, part in enumerate(parts)}
    for run in range(conv_points**2):
        keep = {}
        for part in parts:
            grid, frontend = part.grid[-1], FRONTEND.match(part.name)
            index = run + turns[part.name]
            if frontend:  # even layers take one digit of the run's number, odd layers the other
                index = run // conv_points if int(frontend.group(1)) % 2 else run
                index %= conv_points
            keep[part.axes[-1]] = list(range(grid[index % len(grid)]))
        yield keep


def directly_within(part: Part, parts: Sequence[Part]) -> list[Part]:
    """Return the parts within a part that are within no other part inside it."""
    inside = [each for each in parts if each.module.startswith(f"{part.module}.")]
    deeper = tuple(f"{each.module}." for each in inside)
    return [each for each in inside if not each.module.startswith(deeper)]


def note(
    times: Times,
    parts: Sequence[Part],
    widths: Mapping[str, int],
    found: Sequence[float],
) -> None:
    """Add the times that were found at the widths of one copy."""
    for part, fastest in zip(parts, found, strict=True):
        place = tuple(widths[axis] for axis in part.axes)
        times.setdefault((part.alike, place), []).append(fastest)


def segments_of(parts: Sequence[Part], times: Times) -> list[Segment]:
    """Return the segments of a table, whose times never fall when a width grows."""
    segments = []
    for part in parts:
        points = np.stack(np.meshgrid(*part.grid, indexing="ij"), -1)
        found = np.array(
            [median(times[part.alike, tuple(map(int, p))]) for p in points.reshape(-1, points.shape[-1])]
        )
        found = found.reshape(points.shape[:-1])
        for axis in range(found.ndim):  # noise must not make a narrow module look slower than a wide one
            found = _rising(found, axis)
        flat = tuple(round(float(each)) for each in found.ravel())
        segments.append(Segment(part.name, part.axes, part.grid, flat, part.factors))
    return segments


def _rising(found: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.float64]:
    """Return values that do not fall along an axis: the mean of the running maximum and minimum."""
    above = np.maximum.accumulate(found, axis)
    below = np.flip(np.minimum.accumulate(np.flip(found, axis), axis), axis)
    return (above + below) / 2
