"""Measure whether a finished model is within a budget: its latency or its file in the budget's runtime."""

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from prune_ssl.profiling.timing import Timing, measure_interleaved, time_calls
from prune_ssl.runtimes.opening import Opened, open_model
from prune_ssl.runtimes.registry import EAGER
from prune_ssl.selection import Conditions, Constraint, Limit

CALLS = 15
"""Timed calls of each model at least."""


@dataclass(frozen=True)
class Reached:
    """The measured amount of one limit of a budget: milliseconds, or bytes of an exported file."""

    limit: Limit
    small: float
    dense: float

    @property
    def constraint(self) -> Constraint:
        """The term of the budget."""
        return self.limit.constraint

    def __str__(self) -> str:
        """Return one line with the amounts of both models and with the amount that was asked for."""
        at, asked = self.constraint.at, self.constraint.shown(self.limit.maximum)
        if self.constraint.metric == "latency":
            where = at.dtype if at.runtime == EAGER else at.runtime
            what = f"Latency of {at.seconds:g} s, {at.device}, threads={at.threads}, {where}"
            small, dense = (f"{ms:.1f} ms" for ms in (self.small, self.dense))
        else:
            what = f"Exported file, {at.runtime}"
            small, dense = (self.constraint.shown(round(each)) for each in (self.small, self.dense))
        share = self.small / self.dense
        return f"{what}: {small}, dense {dense} ({share:.1%}); asked: {asked} ({self.limit.fraction:.1%})"


def reached(limits: Sequence[Limit], small: nn.Module, dense: nn.Module) -> list[Reached]:
    """Measure the latencies and the exported files of a budget, under the conditions of each.

    Other quantities are counted exactly and need no measurement. The latency of a section cannot be measured
    in a finished model.

    Args:
        limits: The limits of the finished model.
        small: The finished model. A copy is measured.
        dense: The dense model. A copy is measured in turns with the finished model.

    Raises:
        BudgetError: a runtime cannot run here.
        ExportError: a model cannot be exported.
    """
    models, found = {"small": small, "dense": dense}, []
    for limit in limits:
        at, metric = limit.constraint.at, limit.constraint.metric
        if metric == "latency" and at.seconds is not None and limit.constraint.section is None:
            amounts = milliseconds(models, at, Timing(min_iterations=CALLS))
        elif metric == "memory" and at.runtime != EAGER:
            sizes = {name: open_model(each, at.runtime, 1.0).size_bytes for name, each in models.items()}
            amounts = {name: float(size or 0) for name, size in sizes.items()}
        else:
            continue
        found.append(Reached(limit, amounts["small"], amounts["dense"]))
    return found


def milliseconds(
    models: Mapping[str, nn.Module],
    at: Conditions,
    timing: Timing,
    opened: dict[str, Opened] | None = None,
    again: Collection[str] = (),
) -> dict[str, float]:
    """Return the milliseconds that models take, timed in turns under the conditions of a latency.

    They are medians. If other programs disturbed the timing, they are low quartiles: of the processor time on
    one thread of the CPU, else of the wall time.

    Args:
        models: The models by name, in float32. They are not changed.
        at: The conditions. `seconds` must be given.
        timing: The number of calls. Its length and threads are those of the conditions.
        opened: Keeps models that were opened in a runtime, between calls.
        again: The names of models that will be timed again, and are therefore kept in `opened`.
    """
    seconds = at.seconds or 0.0
    if at.runtime == EAGER:
        timing = replace(timing, seconds=seconds, threads=at.threads)
        dtype = getattr(torch, at.dtype)
        placed = {name: _placed(each, at.device, dtype) for name, each in models.items()}
        found = {name: each[0] for name, each in measure_interleaved(placed, timing).items()}
    else:
        kept = {} if opened is None else opened
        ready = {name: kept.get(name) or _opened(each, at) for name, each in models.items()}
        kept |= {name: ready[name] for name in again}
        calls = {name: each.call for name, each in ready.items()}
        found = time_calls(calls, seconds, at.threads, timing, on_cpu=at.device == "cpu")
    if not any(each.unsteady for each in found.values()):
        return {name: each.median_ms for name, each in found.items()}
    if at.threads == 1 and all(each.processor_ms for each in found.values()):
        return {name: each.processor_ms or 0.0 for name, each in found.items()}
    return {name: each.low_ms or each.median_ms for name, each in found.items()}


def _placed(model: nn.Module, device: str, dtype: torch.dtype) -> nn.Module:
    """Return a model on a device in a dtype: the model itself if it is there, else a copy."""
    there = all((each.device.type, each.dtype) == (device, dtype) for each in model.parameters())
    return model if there else copy.deepcopy(model).to(device, dtype)


def _opened(model: nn.Module, at: Conditions) -> Opened:
    return open_model(model, at.runtime, at.seconds or 0.0, at.threads, at.device)
