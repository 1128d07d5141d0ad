"""Latency tables: measure a model's modules on a grid of widths once, and keep the table on disk."""

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from transformers import PretrainedConfig

from prune_ssl.errors import ArtifactError, BudgetError
from prune_ssl.models.transformers_internals import attention_of
from prune_ssl.profiling.alone import times_alone
from prune_ssl.profiling.files import exported_file
from prune_ssl.profiling.machine import machine_facts, steady_heap, thread_count, versions_of
from prune_ssl.profiling.parts import GRID_STEP, POINTS, parts_of, segments_of
from prune_ssl.profiling.timing import Timing, time_calls
from prune_ssl.profiling.within import DENSE_CALLS, times_within
from prune_ssl.runtimes.opening import open_model, require_device
from prune_ssl.runtimes.registry import EAGER, RUNTIMES, require_runtime
from prune_ssl.selection import Budget, Conditions, as_budget
from prune_ssl.selection.latency import TABLE_VERSION, LatencyTable
from prune_ssl.tracing import PruningGraph
from prune_ssl.tracing.arguments import as_model_and_graph
from prune_ssl.writing import write_text

CONV_POINTS = {"within": 6, "alone": 4, "eager": 6}
"""The way of measuring -> the number of widths of a convolution, whose time is nearly a product of two."""

Say = Callable[[str], None]


def with_latency(
    model: nn.Module | str | Path,
    graph: PruningGraph,
    budget: str | Budget,
    seconds: float = 10.0,
    *,
    cache: Path | None = None,
    say: Say | None = None,
) -> Budget:
    """Return the budget with latency tables of this machine, from the cache or measured now (1 to 3 minutes).

    A memory that names a runtime gets the make-up of the exported file, for which the model is exported once.

    Args:
        model: The dense model, without gates, or its folder or hub name. It is not changed.
        graph: The graph of `trace(model)`.
        budget: Text or constraints. Constraints without a latency are returned unchanged.
        seconds: The audio length of a latency that names none.
        cache: The folder of the tables. None: `$PRUNE_SSL_CACHE` or `~/.cache/prune_ssl`.
        say: Called with one line before a measurement.

    Raises:
        BudgetError: the budget is malformed, its device or a package of its runtime does not exist, or the
            model has no weights.
        ExportError: the model cannot be exported to a runtime of the budget.

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
        if constraint.metric == "memory" and constraint.at.runtime != EAGER and constraint.file is None:
            if say is not None:
                say(f"Exporting the model to {constraint.at.runtime}, for the size of its file")
            constraint = replace(constraint, file=exported_file(model, constraint.at.runtime))
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
        "machine": machine_facts(at.device) | versions_of(at.runtime),
        "at": conditions_of(at),
        "model": type(model).__name__,
        "attention": str(attention_of(getattr(model, "config", None))),
        "shapes": graph.shapes,
        # Properties that change the time but not the shapes: number of heads, strides, activation.
        "groups": {name: [group.kind, group.size] for name, group in graph.groups.items()},
        "kernels": graph.kernels,
        "config": _settings_of(model),
        "version": TABLE_VERSION,
        "grid": [CONV_POINTS[RUNTIMES[at.runtime].parts], POINTS, GRID_STEP],
    }
    key = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:24]
    path = folder / f"latency-{key}.json"
    if (known := _read_table(path, say)) is not None:
        return known
    if say is not None:
        where = f"{at.where}, threads={at.threads}, {at.seconds:g} s of audio"
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
    require_device(require_runtime(at.runtime), at.device)
    if at.seconds is None:
        raise BudgetError("a latency table needs an audio length: write seconds=5 after the latency.")
    if any(parameter.is_meta for parameter in model.parameters()):
        raise BudgetError(
            "a latency budget is measured on the model itself, but this model is only an architecture "
            "without weights: plan with macs=..., or load the model with its weights."
        )


def conditions_of(at: Conditions) -> dict[str, object]:
    """Return the conditions that a table depends on. Eager PyTorch, the usual runtime, is not named."""
    return {name: value for name, value in vars(at).items() if (name, value) != ("runtime", EAGER)}


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
    """Time the modules of cut copies of `model` in the runtime of a latency, on a grid of widths.

    The copies are such that every pair of widths of neighbouring convolutions occurs once. In PyTorch the
    modules are timed within whole forward passes. A runtime that opens exported files, and CUDA graphs, give
    no times of parts: there each module is exported and timed on its own, and the time outside the modules is
    the rest of the dense model's time. The table of torch.compile is that of eager PyTorch, scaled to the
    time of the compiled dense model.

    Args:
        model: The dense model, without gates.
        graph: The graph of `trace(model)`.
        at: The conditions: runtime, device, threads, audio length and dtype.

    Raises:
        BudgetError: the device or a package does not exist, the model has no weights, or no audio length is
            given.
        ExportError: the model cannot be exported to the runtime.
    """
    _check_measurable(model, at)
    way = RUNTIMES[at.runtime].parts
    points = CONV_POINTS[way]
    parts = parts_of(graph, points)
    measured = times_alone if way == "alone" else times_within
    with thread_count(at.threads), steady_heap(), torch.no_grad():
        dense, rest, times = measured(model, graph, parts, at, points)
    table = LatencyTable(
        machine=machine_facts(at.device) | versions_of(at.runtime),
        device=at.device,
        threads=at.threads,
        seconds=at.seconds or 0,
        dtype=at.dtype,
        dense_ns=round(dense),
        rest_ns=round(rest),
        segments=tuple(segments_of(parts, times)),
        runtime=at.runtime,
    )
    return table if way != "eager" else scaled_to_whole(table, model, at)


def scaled_to_whole(table: LatencyTable, model: nn.Module, at: Conditions) -> LatencyTable:
    """Return the table with all times scaled, so that the dense model takes what it takes in its runtime."""
    opened = open_model(model, at.runtime, at.seconds or 0, at.threads, at.device, at.dtype)
    timing = Timing(min_iterations=DENSE_CALLS, min_seconds=0)
    found = time_calls({"dense": opened.call}, at.seconds or 0, at.threads, timing)["dense"]
    factor = 1e6 * (found.low_ms or found.median_ms) / table.dense_ns
    segments = (
        replace(each, times_ns=tuple(round(factor * ns) for ns in each.times_ns)) for each in table.segments
    )
    return replace(
        table,
        dense_ns=round(factor * table.dense_ns),
        rest_ns=round(factor * table.rest_ns),
        segments=tuple(segments),
    )
