"""Time the parts of a model on their own, for runtimes that give no times within a whole model."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import nn

from prune_ssl.models.registry import input_shape
from prune_ssl.optimising import fold_
from prune_ssl.profiling.machine import steady_heap, thread_count
from prune_ssl.profiling.parts import FRONTEND, Part, Times, directly_within, keeps_of
from prune_ssl.resizing import resize
from prune_ssl.runtimes.modules import Arguments, call_of, captured_module, open_module
from prune_ssl.runtimes.opening import open_model
from prune_ssl.runtimes.registry import RUNTIMES
from prune_ssl.runtimes.sessions import Session
from prune_ssl.selection import Conditions
from prune_ssl.tracing import PruningGraph

ROUNDS = 5  # timed calls of each part after a first one; the fastest counts
DENSE_ROUNDS = 7  # calls of the dense model

Place = tuple[str, tuple[int, ...]]
"""(parts of equal shape, widths of their axes)."""


def times_alone(
    model: nn.Module, graph: PruningGraph, parts: Sequence[Part], at: Conditions, conv_points: int
) -> tuple[float, float, Times]:
    """Return the time of the dense model, the time outside its parts, and the times of the parts, in ns.

    Each part of a cut copy is opened in the runtime with the arguments that it has within the copy. A part of
    no units takes no time. The dense model is timed again next to each copy, and the copy's times are scaled
    by the drift of the dense model's time.

    Raises:
        BudgetError: the runtime cannot run here.
        ExportError: the model or a part cannot be exported.
    """
    whole = open_model(model, at.runtime, at.seconds or 0, at.threads, at.device, at.dtype).call
    clock = clock_of(at)
    level = _fastest([whole], clock, DENSE_ROUNDS)[0]
    opener, found = _Opener(at), dict[Place, float]()
    for keep in ({}, *keeps_of(parts, conv_points)):
        widths = graph.widths(keep)
        places = {part.name: place_of(part, widths) for part in parts}
        new = [part for part in parts if places[part.name] not in found and min(places[part.name][1]) > 0]
        found |= {place: 0.0 for place in places.values() if min(place[1]) == 0}
        if not new:
            continue
        cut = resize(model, graph, keep).float().to(at.device).eval()
        calls = opener.calls(cut, {places[part.name]: part for part in reversed(new)})
        before = _fastest([whole], clock, 1)[0]
        taken = dict(zip(calls, _fastest(list(calls.values()), clock, ROUNDS), strict=True))
        drift = level / min(before, _fastest([whole], clock, 1)[0])
        found |= {place: drift * ns for place, ns in taken.items()}
        _take_out_inner(found, [part for part in parts if places[part.name] in calls], parts, places)
    inside = sum(found[place_of(part, graph.widths())] for part in parts)
    fits = min(level / inside, 1.0) if inside else 1.0  # parts alone may take longer than within the model
    return level, max(level - fits * inside, 0.0), {place: [fits * ns] for place, ns in found.items()}


def place_of(part: Part, widths: Mapping[str, int]) -> Place:
    """Return the key of a part's time at the widths of a model."""
    return part.alike, tuple(widths[axis] for axis in part.axes)


def clock_of(at: Conditions) -> Callable[[], int]:
    """Return the clock of a latency, in ns.

    One CPU thread is timed by the processor time of the process, because a runtime may compute in a thread of
    its own. This clock stops while other programs have the core.
    """
    return time.process_time_ns if (at.device, at.threads) == ("cpu", 1) else time.perf_counter_ns


def _fastest(calls: Sequence[Callable[[], object]], clock: Callable[[], int], rounds: int) -> list[float]:
    """Return the least time of each call, over rounds in which all run in turns, after a first round."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds + 1):
        for call, taken in zip(calls, times, strict=True):
            start = clock()
            call()
            taken.append(clock() - start)
    return [min(taken[1:]) for taken in times]


def _take_out_inner(
    found: dict[Place, float], new: Sequence[Part], parts: Sequence[Part], places: Mapping[str, Place]
) -> None:
    """Subtract the times of inner parts. Attention is inside the part of the neurons in some families."""
    for place, part in {places[part.name]: part for part in reversed(new)}.items():
        inner = sum(found[places[each.name]] for each in directly_within(part, list(parts)))
        found[place] = max(found[place] - inner, 0.0)


Key = TypeVar("Key")


def arguments_of(model: nn.Module, modules: Mapping[Key, str], at: Conditions) -> dict[Key, Arguments]:
    """Run a model once on noise, and return the arguments of its modules, which are given by their paths."""
    noise = torch.randn(input_shape(model, at.seconds or 0), generator=torch.Generator().manual_seed(0))
    given: dict[Key, Arguments] = {}

    def remember(key: Key, _: nn.Module, args: Sequence[object], more: Mapping[str, object]) -> None:
        given[key] = Arguments(args, more)

    handles = [
        model.get_submodule(path).register_forward_pre_hook(partial(remember, key), with_kwargs=True)
        for key, path in modules.items()
    ]
    try:
        model(noise.to(at.device))
    finally:
        for handle in handles:
            handle.remove()
    return given


def time_of_modules(model: nn.Module, paths: Sequence[str], at: Conditions) -> float:
    """Return the time in ns that modules of a model take, each as a graph of its own in the runtime.

    Raises:
        ExportError: a module cannot be exported.
    """
    with thread_count(at.threads), steady_heap(), torch.no_grad():
        ready = fold_(copy.deepcopy(model).float().eval())
        given = arguments_of(ready, {path: path for path in paths}, at)
        calls = []
        for path, each in given.items():
            runtime, module = RUNTIMES[at.runtime], ready.get_submodule(path)
            calls.append(call_of(open_module(module, each, runtime, at.threads, False), each))
        return sum(_fastest(calls, clock_of(at), ROUNDS))


class _Opener:
    """Opens parts of copies in one runtime. Convolutions of different lengths only share a session."""

    def __init__(self, at: Conditions) -> None:
        self.at, self.runtime = at, RUNTIMES[at.runtime]
        self.of_any_length: dict[object, Session] = {}

    def calls(self, model: nn.Module, parts: Mapping[Place, Part]) -> dict[Place, Callable[[], object]]:
        """Return a function for each part that runs it once, as it runs in the model."""
        given = arguments_of(model, {place: part.module for place, part in parts.items()}, self.at)
        return {
            place: self._call(model.get_submodule(part.module), part, given[place])
            for place, part in parts.items()
        }

    def _call(self, module: nn.Module, part: Part, given: Arguments) -> Callable[[], object]:
        if not self.runtime.graph:
            return captured_module(module, given)
        threads = self.at.threads
        if not FRONTEND.match(part.name):
            return call_of(open_module(module, given, self.runtime, threads, False), given)
        key = repr(module), given.shapes[0][:2]
        if key not in self.of_any_length:
            self.of_any_length[key] = open_module(module, given, self.runtime, threads, True)
        return call_of(self.of_any_length[key], given)
