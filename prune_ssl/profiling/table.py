"""Latency tables: measure a model's modules on a grid of widths once, and keep the table on disk."""

import hashlib
import json
import os
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PretrainedConfig

from prune_ssl.errors import ArtifactError, BudgetError
from prune_ssl.models.registry import input_shape
from prune_ssl.models.transformers_internals import attention_of
from prune_ssl.profiling.machine import machine_facts, steady_heap, thread_count
from prune_ssl.resizing import resize
from prune_ssl.selection import Budget, Conditions, as_budget
from prune_ssl.selection.latency import TABLE_VERSION, LatencyTable, Segment
from prune_ssl.tracing import Group, PruningGraph
from prune_ssl.tracing.arguments import as_model_and_graph
from prune_ssl.writing import write_text

CONV_POINTS = 6  # a convolution has two axes, and its time is nearly a product of them
POINTS = 13  # covers all head counts of a Base model
GRID_STEP = 8  # measured widths of channels and neurons are multiples of this
CALLS = 3  # calls of each cut model after a first one; the fastest counts
DENSE_CALLS = 9  # calls of the dense model

Say = Callable[[str], None]
FRONTEND = re.compile(r"conv\.(\d+)$")


def with_latency(
    model: nn.Module | str | Path,
    graph: PruningGraph,
    budget: str | Budget,
    seconds: float = 10.0,
    *,
    cache: Path | None = None,
    say: Say | None = None,
) -> Budget:
    """Return the budget with latency tables of this machine, from the cache or measured now (1 to 2 minutes).

    Args:
        model: The dense model, without gates, or its folder or hub name. It is not changed.
        graph: The graph of `trace(model)`.
        budget: Text or constraints. Constraints without a latency are returned unchanged.
        seconds: The audio length of a latency that names none.
        cache: The folder of the tables. None: `$PRUNE_SSL_CACHE` or `~/.cache/prune_ssl`.
        say: Called with one line before a measurement.

    Raises:
        BudgetError: the budget is malformed, its device does not exist, or the model has no weights.

    >>> from prune_ssl.tracing import trace
    >>> from transformers import HubertConfig, HubertModel
    >>> config = HubertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    >>> model = HubertModel(config)
    >>> (constraint,) = with_latency(model, trace(model), "macs=50%")
    >>> constraint.metric
    'macs'
    """
    constraints, made = as_budget(budget), []
    model = as_model_and_graph(model, graph, "with_latency")
    for constraint in constraints:
        if constraint.metric == "latency" and constraint.table is None:
            at = replace(constraint.at, seconds=constraint.at.seconds or seconds)
            table = _cached_table(model, graph, at, cache or _cache_folder(), say)
            constraint = replace(constraint, at=at, table=table)
        made.append(constraint)
    return tuple(made)


def _cache_folder() -> Path:
    try:
        return Path(os.environ.get("PRUNE_SSL_CACHE") or "~/.cache/prune_ssl").expanduser()
    except RuntimeError:  # the user of a container may have no home
        return Path(tempfile.gettempdir()) / "prune_ssl"


def _cached_table(
    model: nn.Module, graph: PruningGraph, at: Conditions, folder: Path, say: Say | None
) -> LatencyTable:
    _check_measurable(model, at)
    facts = {
        "machine": machine_facts(at.device),
        "at": vars(at),
        "model": type(model).__name__,
        "attention": str(attention_of(getattr(model, "config", None))),
        "shapes": graph.shapes,
        # Properties that change the time but not the shapes: number of heads, strides, activation.
        "groups": {name: [group.kind, group.size] for name, group in graph.groups.items()},
        "kernels": graph.kernels,
        "config": _settings_of(model),
        "version": TABLE_VERSION,
        "grid": [CONV_POINTS, POINTS, GRID_STEP],
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:24]
    path = folder / f"latency-{key}.json"
    if (known := _read_table(path, say)) is not None:
        return known
    if say is not None:
        where = f"{at.device}, threads={at.threads}, {at.seconds:g} s of audio"
        say(f"Measuring the latency of all widths ({where}); the table is kept in {path}")
    table = measure_table(model, graph, at)
    try:
        write_text(path, table.to_json())
    except ArtifactError as error:
        _not_written[path] = table
        _notify(f"note: this latency table is kept for this process only: {error}", say)
    return table


_not_written: dict[Path, LatencyTable] = {}
"""Tables that could not be written to a file. They are kept here, because a new measurement would differ."""


def _read_table(path: Path, say: Say | None) -> LatencyTable | None:
    """Return the table in a file, or None if there is none. A damaged file counts as none."""
    try:
        if path.is_file():
            return LatencyTable.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, BudgetError) as error:
        if path not in _not_written:
            _notify(f"note: {path} cannot be read, so the table is measured again: {error}", say)
    return _not_written.get(path)


def _notify(line: str, say: Say | None) -> None:
    if say is None:
        warnings.warn(line, stacklevel=2)
    else:
        say(line)


def _check_measurable(model: nn.Module, at: Conditions) -> None:
    if at.device == "cuda" and not torch.cuda.is_available():
        raise BudgetError("latency@cuda: this machine has no CUDA device: measure on the target machine.")
    if at.seconds is None:
        raise BudgetError("a latency table needs an audio length: write seconds=5 after the latency.")
    if any(parameter.is_meta for parameter in model.parameters()):
        raise BudgetError(
            "a latency budget is measured on the model itself, but this model is only an architecture "
            "without weights: plan with macs=..., or load the model with its weights."
        )


def _settings_of(model: nn.Module) -> dict[str, object]:
    """Return a model's config without its origin, its dtype and the names of its labels."""
    config = getattr(model, "config", None)
    if not isinstance(config, PretrainedConfig):
        return {}
    settings: dict[str, object] = config.to_dict()
    for name in ("_name_or_path", "transformers_version", "id2label", "label2id", "dtype"):
        settings.pop(name, None)
    return settings


def measure_table(model: nn.Module, graph: PruningGraph, at: Conditions) -> LatencyTable:
    """Time the modules of cut copies of `model` within whole forward passes, on a grid of widths.

    There are CONV_POINTS^2 copies, so that every pair of widths of neighbouring convolutions occurs once.
    Heads and neurons take all their widths over the same copies, with a different start in each layer.
    Modules of equal shape share their times. The time outside the modules is the median over all copies. The
    dense model is timed again next to each copy, and the copy's times are scaled by the drift of the dense
    model's time.

    Args:
        model: The dense model, without gates.
        graph: The graph of `trace(model)`.
        at: The conditions: device, threads, audio length and dtype.

    Raises:
        BudgetError: the device does not exist, the model has no weights, or no audio length is given.
    """
    _check_measurable(model, at)
    parts = _parts(graph)
    times: dict[tuple[str, tuple[int, ...]], list[float]] = {}
    with thread_count(at.threads), steady_heap(), torch.inference_mode():
        dense = _Subject(resize(model, graph, {}), parts, at)
        level, inside = dense.times(DENSE_CALLS)
        _note(times, parts, graph.widths(), inside)
        between: list[float] = [level - sum(inside)]
        for keep in _keeps(graph, parts):
            subject = _Subject(resize(model, graph, keep), parts, at)
            before = dense.times(1)[0]
            whole, inside = subject.times(CALLS)
            # The machine may have slowed down or sped up since the dense model was timed.
            drift = level / min(before, dense.times(1)[0])
            subject.release()
            _note(times, parts, graph.widths(keep), [drift * each for each in inside])
            between.append(drift * (whole - sum(inside)))
    return LatencyTable(
        machine=machine_facts(at.device),
        device=at.device,
        threads=at.threads,
        seconds=at.seconds or 0,
        dtype=at.dtype,
        dense_ns=round(level),
        rest_ns=max(round(median(between)), 0),
        segments=tuple(_segments(parts, times)),
    )


@dataclass(frozen=True)
class _Part:
    """One module to time, the groups on whose widths it depends, and the widths to measure."""

    name: str
    module: str
    axes: tuple[str, ...]
    grid: tuple[tuple[int, ...], ...]
    factors: tuple[str, ...]
    alike: str
    """Parts with the same text have the same shape, and share their times."""


def _parts(graph: PruningGraph) -> list[_Part]:
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
        grid = tuple(_grid(graph.groups[axis]) for axis in axes)
        parts.append(_Part(name, module, axes, grid, factors, alike))
    return parts


def _around(group: Group) -> str:
    """Return the smallest module that contains all producers and consumers of a group's units."""
    ends = [part.module.split(".") for role in ("producer", "consumer") for part in group.of_role(role)]
    shared = takewhile(lambda level: len(set(level)) == 1, zip(*ends, strict=False))
    return ".".join(level[0] for level in shared)


def _grid(group: Group) -> tuple[int, ...]:
    """Return the widths to measure: evenly spaced multiples of a step, from the smallest to all units."""
    count = CONV_POINTS if FRONTEND.match(group.name) else POINTS
    step = 1 if group.kind == "heads" else GRID_STEP
    least = min(step, max(group.size // 2, 1)) if group.minimum else 0
    inner = {step * round(float(width) / step) for width in np.linspace(least, group.size, count)}
    return tuple(sorted({least, group.size, *(width for width in inner if least < width < group.size)}))


def _keeps(graph: PruningGraph, parts: list[_Part]) -> Iterator[dict[str, list[int]]]:
    # Modules of equal shape have different widths in one copy, so that a disturbance of a whole copy does not
    # make one width look slow.
    turns = {part.name: sum(each.alike == part.alike for each in parts[:at]) for at, part in enumerate(parts)}
    for run in range(CONV_POINTS**2):
        keep = {}
        for part in parts:
            grid, frontend = part.grid[-1], FRONTEND.match(part.name)
            index = run + turns[part.name]
            if frontend:  # even layers take one digit of the run's number, odd layers the other
                index = run // CONV_POINTS if int(frontend.group(1)) % 2 else run
                index %= CONV_POINTS
            keep[part.axes[-1]] = list(range(grid[index % len(grid)]))
        yield keep


def _directly_within(part: _Part, parts: list[_Part]) -> list[_Part]:
    inside = [each for each in parts if each.module.startswith(f"{part.module}.")]
    deeper = tuple(f"{each.module}." for each in inside)
    return [each for each in inside if not each.module.startswith(deeper)]


class _Subject:
    """A model with a timer at each part."""

    def __init__(self, model: nn.Module, parts: list[_Part], at: Conditions) -> None:
        dtype = getattr(torch, at.dtype)
        self.model, self.parts = model.to(at.device, dtype).eval(), parts
        self.clock = _Clock(at)
        self.starts: dict[str, int] = {}
        self.within = {part.name: [each.name for each in _directly_within(part, parts)] for part in parts}
        self.spent: dict[str, list[int]] = {part.name: [] for part in parts}
        self.handles: list[RemovableHandle] = []
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(input_shape(model, at.seconds or 0), generator=generator)
        self.waveform = noise.to(at.device, dtype)
        for part in parts:
            module = self.model.get_submodule(part.module)
            self.handles.append(module.register_forward_pre_hook(partial(self._begin, part.name)))
            self.handles.append(module.register_forward_hook(partial(self._end, part.name)))
        self.model(self.waveform)  # the first call sets things up

    def _begin(self, name: str, *_: object) -> None:
        self.starts[name] = self.clock()

    def _end(self, name: str, *_: object) -> None:
        self.spent[name].append(self.clock() - self.starts[name])

    def release(self) -> None:
        """Remove the timers. They refer to the model and would keep it in memory."""
        for handle in self.handles:
            handle.remove()

    def times(self, calls: int) -> tuple[int, list[int]]:
        """Return the time in ns of the fastest call, and of each part in the part's fastest call.

        The time of a part inside another part counts for the inner part only. (Attention is inside the part
        of the neurons if a layer has no module around its neurons.)

        Raises:
            BudgetError: a part does not run as a module.
        """
        for spent in self.spent.values():
            spent.clear()
        whole = []
        for _ in range(calls):
            start = self.clock()
            self.model(self.waveform)
            whole.append(self.clock() - start)
        for part in self.parts:
            if not self.spent[part.name]:
                raise BudgetError(
                    f"latency: {part.module} does not run as a module, so it cannot be timed on its own."
                )
        own = [
            min(
                spent - sum(inner)
                for spent, *inner in zip(
                    *(self.spent[name] for name in (part.name, *self.within[part.name])), strict=True
                )
            )
            for part in self.parts
        ]
        return min(whole), own


class _Clock:
    """A clock in nanoseconds that waits until the device has finished its work.

    One CPU thread is timed by its own clock, which stops while other programs run on its core.
    """

    def __init__(self, at: Conditions) -> None:
        self.cuda = at.device == "cuda"
        self.read = time.thread_time_ns if (at.device, at.threads) == ("cpu", 1) else time.perf_counter_ns

    def __call__(self) -> int:
        if self.cuda:
            torch.cuda.synchronize()
        return self.read()


def _note(
    times: dict[tuple[str, tuple[int, ...]], list[float]],
    parts: list[_Part],
    widths: Mapping[str, int],
    found: Sequence[float],
) -> None:
    for part, fastest in zip(parts, found, strict=True):
        place = tuple(widths[axis] for axis in part.axes)
        times.setdefault((part.alike, place), []).append(fastest)


def _segments(parts: list[_Part], times: Mapping[tuple[str, tuple[int, ...]], list[float]]) -> list[Segment]:
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
