"""Where the time of a dense model goes, and how much of it one unit of each group takes."""

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from prune_ssl.models import backbone_of, family_of
from prune_ssl.models.layers import submodule_or_none
from prune_ssl.models.registry import input_shape
from prune_ssl.profiling.alone import time_of_modules
from prune_ssl.profiling.machine import steady_heap, thread_count
from prune_ssl.runtimes.opening import in_pytorch
from prune_ssl.runtimes.registry import RUNTIMES
from prune_ssl.selection import Conditions
from prune_ssl.selection.latency import LatencyCost, LatencyTable
from prune_ssl.tracing import PruningGraph

CALLS = 5
"""Calls of the model in which the positional part is timed; its fastest counts, as in the tables."""
PART_OF_KIND = {"heads": "attention", "ffn": "ffn", "conv": "convolution"}
"""Kind of a group in a layer -> the part that its module belongs to."""


@dataclass(frozen=True)
class Breakdown:
    """The time of a dense model by its parts, and the time of one unit of each group, in nanoseconds."""

    conditions: str
    """Device, threads, audio length and dtype, in a few words."""
    total_ns: int
    by_part: Mapping[str, int]
    """frontend, position, attention, ffn, convolution (of conformers) and rest."""
    per_unit: Mapping[str, int]
    """Group -> the mean time of one unit. A group whose units are not timed, such as hidden, is missing."""

    @property
    def shares(self) -> dict[str, float]:
        """Part -> its share of the time, without parts that take none."""
        return {name: part / self.total_ns for name, part in self.by_part.items() if part}


def time_by_part(model: nn.Module, graph: PruningGraph, table: LatencyTable) -> Breakdown:
    """Return where the time of a dense model goes, by its latency table.

    The positional part, which no group of the table changes, is timed in a few calls now.

    Args:
        model: The dense model, on the CPU.
        graph: The graph of `trace(model)`.
        table: The table that `with_latency` adds to a latency budget of this model.
    """
    dense, cost = graph.widths(), LatencyCost(table, graph)
    parts = dict.fromkeys(("frontend", "position", "attention", "ffn", "convolution"), 0)
    for segment in table.segments:
        kind = graph.groups[segment.name].kind
        part = "frontend" if segment.name.startswith("conv.") else PART_OF_KIND[kind]
        parts[part] += segment.at(dense)
    total = max(table.dense_ns, sum(parts.values()))
    parts["position"] = min(round(position_share(model, table) * total), total - sum(parts.values()))
    parts["rest"] = total - sum(parts.values())
    per_unit = {name: cost.marginal(name, dense) for name in graph.groups if name in cost.by_group}
    where = f"{table.where}, threads={table.threads}, {table.seconds:g} s, {table.dtype}"
    return Breakdown(where, total, parts, per_unit)


def position_share(model: nn.Module, table: LatencyTable) -> float:
    """Return the share of the time of a model that its modules of positions take, in the table's runtime.

    It is 0 if the model has none, and not timed on a device other than the CPU: there it belongs to the rest.
    """
    runtime = RUNTIMES[table.runtime]
    family, (_, backbone) = family_of(model), backbone_of(model)
    paths = [path for path, section in family.sections if section == "position"]
    found = [part for path in paths if (part := submodule_or_none(backbone, path)) is not None]
    if not found or table.device != "cpu":
        return 0.0
    if runtime.graph:
        at = Conditions(table.device, table.threads, table.seconds, table.dtype, table.runtime)
        places = {id(module): path for path, module in model.named_modules()}
        return time_of_modules(model, [places[id(part)] for part in found], at) / max(table.dense_ns, 1)
    if runtime.form:
        return position_share_within(in_pytorch(copy.deepcopy(model), runtime), paths, table)
    return position_share_within(model, paths, table)


def position_share_within(model: nn.Module, paths: Sequence[str], table: LatencyTable) -> float:
    """Return the share of the time of a model of PyTorch that modules of its backbone take."""
    _, backbone = backbone_of(model)
    found = [part for path in paths if (part := submodule_or_none(backbone, path)) is not None]
    spent, started = [0], [0]

    def begin(*_: object) -> None:
        started[0] = time.thread_time_ns()

    def end(*_: object) -> None:
        spent[-1] += time.thread_time_ns() - started[0]

    handles = [each.register_forward_pre_hook(begin) for each in found]
    handles += [each.register_forward_hook(end) for each in found]
    audio = torch.randn(input_shape(model, table.seconds), generator=torch.Generator().manual_seed(0))
    audio, shares = audio.to(next(model.parameters()).dtype), []
    training = model.training
    try:
        with torch.inference_mode(), thread_count(1), steady_heap():
            model.eval()(audio)
            for _ in range(CALLS):
                spent.append(0)
                before = time.thread_time_ns()
                model(audio)
                shares.append(spent[-1] / max(time.thread_time_ns() - before, 1))
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return sorted(shares)[CALLS // 2]
