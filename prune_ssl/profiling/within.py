"""Time the parts of cut copies of a model within whole forward passes of PyTorch."""

import time
from collections.abc import Sequence
from functools import partial
from statistics import median

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from prune_ssl.errors import BudgetError
from prune_ssl.models.registry import input_shape
from prune_ssl.profiling.parts import Part, Times, directly_within, keeps_of, note
from prune_ssl.resizing import resize
from prune_ssl.runtimes.opening import in_pytorch
from prune_ssl.runtimes.registry import EAGER, RUNTIMES
from prune_ssl.selection import Conditions
from prune_ssl.tracing import PruningGraph

CALLS = 3  # calls of each cut model after a first one; the fastest counts
DENSE_CALLS = 9  # calls of the dense model


def times_within(
    model: nn.Module, graph: PruningGraph, parts: Sequence[Part], at: Conditions, conv_points: int
) -> tuple[float, float, Times]:
    """Return the time of the dense model, the time outside its parts, and the times of the parts, in ns.

    Heads and neurons take all their widths over the same copies, with a different start in each layer.
    Modules of equal shape share their times. The time outside the modules is the median over all copies. The
    dense model is timed again next to each copy, and the copy's times are scaled by the drift of the dense
    model's time.

    Raises:
        BudgetError: a part does not run as a module.
    """
    times: Times = {}
    dense = Subject(resize(model, graph, {}), parts, at)
    level, inside = dense.times(DENSE_CALLS)
    note(times, parts, graph.widths(), inside)
    between: list[float] = [level - sum(inside)]
    for keep in keeps_of(parts, conv_points):
        subject = Subject(resize(model, graph, keep), parts, at)
        before = dense.times(1)[0]
        whole, inside = subject.times(CALLS)
        # The machine may have slowed down or sped up since the dense model was timed.
        drift = level / min(before, dense.times(1)[0])
        subject.release()
        note(times, parts, graph.widths(keep), [drift * each for each in inside])
        between.append(drift * (whole - sum(inside)))
    return level, max(median(between), 0.0), times


class Subject:
    """A model with a timer at each part."""

    def __init__(self, model: nn.Module, parts: Sequence[Part], at: Conditions) -> None:
        runtime = RUNTIMES[at.runtime]
        form = runtime if runtime.parts == "within" else RUNTIMES[EAGER]
        self.model, self.parts = in_pytorch(model, form, at.device, at.dtype), parts
        self.clock = Clock(at)
        self.starts: dict[str, int] = {}
        self.within = {part.name: [each.name for each in directly_within(part, parts)] for part in parts}
        self.spent: dict[str, list[int]] = {part.name: [] for part in parts}
        self.handles: list[RemovableHandle] = []
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(input_shape(model, at.seconds or 0), generator=generator)
        first = next(self.model.parameters())
        self.waveform = noise.to(at.device, first.dtype)
        for part in parts:
            module = self.model.get_submodule(part.module)
            self.handles.append(module.register_forward_pre_hook(partial(self._begin, part.name)))
            self.handles.append(module.register_forward_hook(partial(self._end, part.name)))
        self.times(1)  # the first call sets things up

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
        with torch.inference_mode():
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


class Clock:
    """A clock in nanoseconds that waits until the device has finished its work.

    One CPU thread is timed by its own clock, which stops while other programs run on its core.
    """

    def __init__(self, at: Conditions) -> None:
        self.cuda = at.device == "cuda"
        self.read = time.thread_time_ns if (at.device, at.threads) == ("cpu", 1) else time.perf_counter_ns

    def __call__(self) -> int:
        """Return the time now."""
        if self.cuda:
            torch.cuda.synchronize()
        return self.read()
