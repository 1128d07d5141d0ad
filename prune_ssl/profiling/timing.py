"""Time the forward passes of one or several models in turns."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import torch
from torch import nn

from prune_ssl.errors import MeasuringError, ModelError
from prune_ssl.fields_in_help import with_fields
from prune_ssl.models.arguments import check_types
from prune_ssl.models.registry import input_shape
from prune_ssl.profiling.machine import steady_heap, thread_count, usable_cores
from prune_ssl.selection.calibration import evaluating

WARMUP_ITERATIONS = 10
WARMUP_SECONDS = 2.0
"""The warm-up ends after ten calls or two seconds, whichever comes first, but after at least one call."""

REPEATS = 8
"""The timed calls are also summarised in this many consecutive repeats, whose differences show the noise. A
true median lies between the smallest and the largest of eight medians in 99 of 100 cases."""

LOW = 0.25
"""The quantile for a call that no other work of the machine disturbed."""

MOST_SPREAD = 2.0
"""The largest ratio of the 90th and the 10th percentile of steady times. Other programs on the cores
make times bimodal, with far larger ratios."""

LEAST_PROCESSOR_SHARE = 0.8
"""The smallest ratio of processor time and wall time of a process that does not wait for a core."""


@with_fields
@dataclass(frozen=True, kw_only=True)
class Timing:
    """The settings of a timing: audio lengths, thread counts and the number of calls.

    Raises:
        MeasuringError: a value has a wrong type or is out of range.

    >>> Timing(seconds=2, threads=1).lengths
    (2.0,)
    """

    seconds: float | Sequence[float] = (1.0, 5.0, 10.0)
    """Audio length or lengths."""
    threads: int | Sequence[int] | None = None
    """Thread count or counts. None: 1 and torch's present setting (on a GPU only the latter)."""
    min_iterations: int = 50
    """The smallest number of timed calls of each model, for each length and thread count."""
    min_seconds: float = 3.0
    """The smallest total time of the timed calls of each model."""
    max_seconds: float | None = 60.0
    """The timed calls of a model stop after this time, even before `min_iterations`. `Latency.n` has the real
    number. None: no limit."""

    def __post_init__(self) -> None:
        check_types(self, MeasuringError)
        counts = () if self.threads is None else _as_tuple(self.threads)
        for name, holds, wanted in (
            ("seconds", bool(self.lengths) and min(self.lengths) > 0, "positive audio lengths"),
            ("threads", self.threads is None or (bool(counts) and min(counts) >= 1), "1 or more"),
            ("min_iterations", self.min_iterations >= 1, "1 or more"),
            ("min_seconds", self.min_seconds >= 0, "0 or more"),
            ("max_seconds", self.max_seconds is None or self.max_seconds > 0, "above 0, or None"),
        ):
            if not holds:
                raise MeasuringError(f"{name}: found {getattr(self, name)}, wanted {wanted}.")

    @property
    def lengths(self) -> tuple[float, ...]:
        """The audio lengths, in seconds."""
        return tuple(map(float, _as_tuple(self.seconds)))

    @property
    def reference_seconds(self) -> float:
        """The audio length of costs that are given for one length: 10 s if it is timed, else the longest."""
        return 10.0 if 10.0 in self.lengths else max(self.lengths)

    def thread_counts(self, on_cpu: bool = True) -> tuple[int, ...]:
        """Return the thread counts for models on the CPU, or on another device."""
        if self.threads is None:
            now = torch.get_num_threads()
            return tuple(sorted({1, now})) if on_cpu else (now,)
        return _as_tuple(self.threads)

    @classmethod
    def of(cls, timing: "Timing | None", seconds: float | Sequence[float] | None = None) -> "Timing":
        """Return the given timing or the default one, with other audio lengths if some are given."""
        made = cls() if timing is None else timing
        return made if seconds is None else replace(made, seconds=seconds)


Number = TypeVar("Number", int, float)


def _as_tuple(given: Number | Sequence[Number]) -> tuple[Number, ...]:
    return (given,) if isinstance(given, int | float) else tuple(given)


class Timed(NamedTuple):
    """The seconds that one call took."""

    wall: float
    """Wall time."""
    processor: float
    """Processor time of all threads of the process."""


@with_fields
@dataclass(frozen=True)
class Latency:
    """The times of single forward passes, without feature extraction and decoding.

    >>> Latency(median_ms=20.0, p10_ms=19.0, p90_ms=21.0, n=50, threads=1, seconds=10.0).rtfx
    500.0
    """

    median_ms: float
    p10_ms: float
    p90_ms: float
    n: int
    """The number of timed calls."""
    threads: int
    """The thread count of torch during the timing."""
    seconds: float
    """The audio length of each input."""
    batch_size: int = 1
    repeats_ms: tuple[float, ...] = ()
    """The low quartiles of consecutive parts of the calls. Models timed in turns share these parts."""
    low_ms: float | None = None
    """The low quartile: the time of a call that no other work of the machine disturbs."""
    processor_ms: float | None = None
    """The low quartile of the processor time of the process, summed over its threads. None on a GPU."""
    processor_share: float | None = None
    """Processor time over wall time of all calls."""
    load: float | None = None
    """The load average of the machine (1 minute) at the end, divided by usable cores plus threads."""

    @property
    def rtf(self) -> float:
        """Real-time factor: compute seconds per audio second (lower is faster)."""
        return self.median_ms / 1000.0 / (self.seconds * self.batch_size)

    @property
    def unsteady(self) -> str:
        """The reason why other programs disturbed these times, or an empty text if they did not."""
        if self.p90_ms > MOST_SPREAD * self.p10_ms:
            return f"the 90th percentile is {self.p90_ms / self.p10_ms:.1f} times the 10th"
        if self.processor_share is not None and self.processor_share < LEAST_PROCESSOR_SHARE:
            return f"the process had a core for {self.processor_share:.0%} of the time only"
        if self.load is not None and self.load > 1:
            return f"the load average is {self.load:.1f} times the cores and threads in use"
        return ""

    @property
    def rtfx(self) -> float:
        """Inverse real-time factor: audio seconds per compute second (higher is faster)."""
        return 1.0 / self.rtf


def measure_interleaved(
    models: Mapping[str, nn.Module],
    timing: Timing | None = None,
    on_cell: Callable[[float, int], None] | None = None,
) -> dict[str, list[Latency]]:
    """Time several models in turns (A, B, B, A, ...), so that a change of the machine's speed affects all.

    Each model gets the same random waveform, shape (1, N) with N = 16,000 x seconds, in eval and inference
    mode. The modes of the modules and the thread count are restored afterwards. The global random state is
    not touched. Freed memory is kept meanwhile (`steady_heap`), as in a process that serves a model.

    Args:
        models: The models by name. The result has the same names.
        timing: Audio lengths, thread counts and the number of calls. None: the defaults of `Timing`.
        on_cell: Called with (seconds, threads) before each combination, for progress displays.

    Raises:
        ModelError: a model fails on the waveform, for example because its frontend needs a longer one; or
            the models are on different devices or have different dtypes.

    >>> from transformers import HubertConfig, HubertModel
    >>> sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 8, "conv_dim": [8] * 7}
    >>> model = HubertModel(HubertConfig(num_hidden_layers=1, **sizes))
    >>> quick = Timing(seconds=0.1, threads=1, min_iterations=2, min_seconds=0)
    >>> (latency,) = measure_interleaved({"tiny": model}, quick)["tiny"]
    >>> latency.n, latency.threads
    (2, 1)
    """
    _check_alike(models)
    timing = Timing.of(timing)
    on_cpu = any(next(model.parameters()).device.type == "cpu" for model in models.values())
    latencies: dict[str, list[Latency]] = {name: [] for name in models}
    with evaluating(models.values()), torch.inference_mode(), steady_heap():
        for length in timing.lengths:
            calls = {name: _forward_call(name, model, length) for name, model in models.items()}
            for count in timing.thread_counts(on_cpu):
                if on_cell is not None:
                    on_cell(length, count)
                for name, found in _timed(calls, timing, length, count, on_cpu).items():
                    latencies[name].append(found)
    return latencies


def time_calls(
    calls: Mapping[str, Callable[[], object]],
    seconds: float,
    threads: int,
    timing: Timing | None = None,
    on_cpu: bool = True,
) -> dict[str, Latency]:
    """Time calls in turns, as `measure_interleaved` times models. They may be of other runtimes.

    Args:
        calls: The calls by name. A runtime of its own must have been told its thread count already.
        seconds: The audio length that each call takes.
        threads: The thread count, which torch gets during the timing.
        timing: The number of calls. None: the defaults of `Timing`.
        on_cpu: Whether the calls compute on the CPU, so that its processor time counts.

    >>> quick = Timing(min_iterations=2, min_seconds=0)
    >>> time_calls({"sum": lambda: sum(range(100))}, 1.0, 1, quick)["sum"].n
    2
    """
    with torch.inference_mode(), steady_heap():
        return _timed(calls, Timing.of(timing), seconds, threads, on_cpu)


def _timed(
    calls: Mapping[str, Callable[[], object]], timing: Timing, seconds: float, threads: int, on_cpu: bool
) -> dict[str, Latency]:
    """Warm up each call, and time all in turns."""
    with thread_count(threads):
        for call in calls.values():
            _warm_up(call)
        times = _time_in_turns(calls, timing)
    return {name: _summarise(found, seconds, threads, on_cpu) for name, found in times.items()}


def _check_alike(models: Mapping[str, nn.Module]) -> None:
    first = {name: next(model.parameters()) for name, model in models.items()}
    places = {name: f"{each.device.type}, {each.dtype}" for name, each in first.items()}
    if len(set(places.values())) > 1:
        raise ModelError(
            "measuring: times of models on different devices or with different dtypes cannot be compared: "
            f"{'; '.join(f'{name}: {place}' for name, place in places.items())}. Move them with "
            "model.to(...)."
        )


def random_waveform(model: nn.Module, seconds: float) -> torch.Tensor:
    """Return seeded noise of unit variance, with the shape, dtype and device of the model's input."""
    generator = torch.Generator().manual_seed(0)
    waveform = torch.randn(input_shape(model, seconds), generator=generator)
    parameter = next(model.parameters())
    return waveform.to(device=parameter.device, dtype=parameter.dtype)


def _forward_call(name: str, model: nn.Module, seconds: float) -> Callable[[], None]:
    """Return a function that runs the model once to completion, after one trial call."""
    waveform = random_waveform(model, seconds)
    on_cuda = waveform.device.type == "cuda"

    def call() -> None:
        model(waveform)
        if on_cuda:
            torch.cuda.synchronize(waveform.device)

    try:
        call()
    except (RuntimeError, TypeError, ValueError) as error:
        raise ModelError(
            f"measuring: model {name!r} ({type(model).__name__}) failed on a waveform of shape "
            f"{tuple(waveform.shape)} ({seconds:g} s at 16 kHz): {error}. Wanted a model whose "
            "first argument is the waveform; give at least 0.025 s (400 samples) of audio."
        ) from error
    return call


def _warm_up(call: Callable[[], object]) -> None:
    start = time.perf_counter()
    for _ in range(WARMUP_ITERATIONS):
        call()
        if time.perf_counter() - start >= WARMUP_SECONDS:
            break


def _time_in_turns(calls: Mapping[str, Callable[[], object]], timing: Timing) -> dict[str, list[Timed]]:
    """Return the times of each call. All models are called until every one has enough calls."""
    times: dict[str, list[Timed]] = {name: [] for name in calls}
    spent, order = dict.fromkeys(calls, 0.0), list(calls)
    while True:
        for name in order:
            start, processor = time.perf_counter(), time.process_time()
            calls[name]()
            taken = Timed(time.perf_counter() - start, time.process_time() - processor)
            times[name].append(taken)
            spent[name] += taken.wall
        order.reverse()  # A B B A, so that neither always runs with the cache that the other left
        called = len(times[order[0]]) >= timing.min_iterations
        enough = called and min(spent.values()) >= timing.min_seconds
        if enough or (timing.max_seconds is not None and max(spent.values()) >= timing.max_seconds):
            return times


def _summarise(times: Sequence[Timed], seconds: float, threads: int, on_cpu: bool = True) -> Latency:
    wall, processor = 1000.0 * torch.tensor(times, dtype=torch.float64).T
    points = torch.tensor([0.1, LOW, 0.5, 0.9], dtype=torch.float64)
    p10, low, median, p90 = torch.quantile(wall, points).tolist()
    parts = wall.tensor_split(min(REPEATS, len(times)))
    return Latency(
        median_ms=median,
        p10_ms=p10,
        p90_ms=p90,
        n=len(times),
        threads=threads,
        seconds=seconds,
        repeats_ms=tuple(part.quantile(LOW).item() for part in parts),
        low_ms=low,
        processor_ms=processor.quantile(LOW).item() if on_cpu else None,
        processor_share=(processor.sum() / wall.sum()).item() if on_cpu else None,
        load=_load(threads) if on_cpu else None,
    )


def _load(threads: int) -> float | None:
    """Return the load average over usable cores plus threads, or None if the system has no load average."""
    try:
        return os.getloadavg()[0] / (usable_cores() + threads)
    except (OSError, AttributeError):
        return None
