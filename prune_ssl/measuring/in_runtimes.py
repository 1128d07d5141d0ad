"""Time models in several runtimes, all in turns in one process."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import nn

from prune_ssl.errors import PruneError
from prune_ssl.profiling import Latency, Timing
from prune_ssl.profiling.timing import time_calls
from prune_ssl.runtimes.opening import Prepared, prepare
from prune_ssl.runtimes.registry import require_runtime
from prune_ssl.writing import make_folder, temporary_folder

Pair = tuple[str, str]
"""(name of the model, runtime)."""


def measure_in_runtimes(
    models: Mapping[str, nn.Module],
    runtimes: Sequence[str],
    timing: Timing,
    on_cell: Callable[[float, int], None] | None = None,
) -> tuple[dict[Pair, list[Latency]], dict[Pair, str]]:
    """Time every model in every runtime, in turns.

    Args:
        models: The models by name, in float32.
        runtimes: Keys of `RUNTIMES`.
        timing: Audio lengths, thread counts and the number of calls.
        on_cell: Called with (seconds, threads) before each combination.

    Returns:
        The latencies of each model in each runtime, and the reason for each pair that cannot be measured.
    """
    found: dict[Pair, list[Latency]] = {}
    problems: dict[Pair, str] = {}
    with temporary_folder() as folder:
        ready: dict[Pair, Prepared] = {}
        for number, name in enumerate(models):
            for runtime in dict.fromkeys(runtimes):
                place = make_folder(folder / f"{number}-{runtime}")
                try:
                    ready[name, runtime] = _prepared(models[name], runtime, place)
                except PruneError as error:
                    problems[name, runtime] = str(error)
        found = {pair: [] for pair in ready}
        for seconds in timing.lengths if ready else ():
            for threads in timing.thread_counts():
                if on_cell is not None:
                    on_cell(seconds, threads)
                calls = {pair: each.opened(seconds, threads).call for pair, each in ready.items()}
                names = {" in ".join(pair): pair for pair in calls}
                by_name = {name: calls[pair] for name, pair in names.items()}
                for name, latency in time_calls(by_name, seconds, threads, timing).items():
                    found[names[name]].append(latency)
    return found, problems


def _prepared(model: nn.Module, runtime: str, folder: Path) -> Prepared:
    """Prepare a model for a runtime, on the runtime's usual device."""
    return prepare(model, runtime, folder, require_runtime(runtime).devices[0])
