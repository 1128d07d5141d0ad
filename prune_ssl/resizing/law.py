"""Tries the law masked = cut once, on a copy of a model with parts that no family table describes.

The dependency graph sees operations, but not their effect on a unit: a softmax or a norm over the units, a
view that mixes them, a head that reads them elsewhere. If a group is right, the gated model and the cut model
are the same function, whatever the weights. So a copy whose weights are moved away from zero is gated and cut
at random, in double precision, and both outputs for noise are compared.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from math import gcd

import numpy as np
import torch
from torch import nn

from prune_ssl.gating import UnitGates, attach
from prune_ssl.models import FAMILIES, Family
from prune_ssl.models.registry import input_shape
from prune_ssl.resizing.cutting import cut_tensors, restructure
from prune_ssl.tracing import PruningGraph
from prune_ssl.tracing.example import Example, call
from prune_ssl.tracing.twin import shared_hooks

Keep = dict[str, list[int]]
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}
SECONDS = 1.0
EACH_ALONE = 10_000_000
"""Up to this number of parameters each group is tried alone too; beyond it only if all together fail."""
TOGETHER = (("conv", "heads", "ffn", "head_dim", "hidden"), ("block",), ("layer",))
"""Kinds that are tried together; a unit whose layer is gone as well would show nothing."""


def broken_groups(model: nn.Module, graph: PruningGraph, family: Family) -> dict[str, str]:
    """Return group -> why it breaks the law; the model, its hooks and the random state stay as they are.

    This costs a copy of the weights in double precision, and three forward passes over a second of noise for
    each entry of TOGETHER. Each group that is tried alone costs two passes more.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            trial = _Trial(model, graph, family)
        except Exception as error:  # the forward of a stranger may raise any kind
            why = f"the model could not be tried on a copy: {_said(error)}"
            return dict.fromkeys(graph.groups, why)
        broken: dict[str, str] = {}
        alone = sum(parameter.numel() for parameter in model.parameters()) <= EACH_ALONE
        for kinds in TOGETHER:
            names = [name for name, group in graph.groups.items() if group.kind in kinds]
            if alone:
                broken |= {name: why for name in names if (why := trial.why([name]))}
            broken |= _search(trial, [name for name in names if name not in broken])
    return broken


def _search(trial: "_Trial", names: Sequence[str]) -> dict[str, str]:
    """Return the groups that break the law; they are found by trying halves."""
    why = trial.why(names)
    if not why:
        return {}
    if len(names) == 1:
        return {names[0]: why}
    half = len(names) // 2
    broken = _search(trial, names[:half]) | _search(trial, names[half:])
    left = [name for name in names if name not in broken]
    # Each half alone may hold the law when both together break it.
    return broken | dict.fromkeys(left, why) if left and trial.why(left) else broken


class _Trial:
    """A copy of the model whose weights are moved away from special values, and noise as its input."""

    def __init__(self, model: nn.Module, graph: PruningGraph, family: Family) -> None:
        self.graph, self.known = graph, family.name in FAMILIES
        self.random = np.random.default_rng(0)
        for dtype in TOLERANCES:
            self.tolerance = TOLERANCES[dtype]
            self.copy = _copy_of(model, dtype)
            self.dtype, generator = dtype, torch.Generator().manual_seed(0)
            if isinstance(family.input, Example):
                self.noise = family.input.noise(dtype, generator)
            else:
                self.noise = torch.randn(input_shape(self.copy, SECONDS), generator=generator).to(dtype)
            try:
                self.dense = self._run(self.copy)
                break
            except Exception:  # a forward that makes tensors in single precision
                if dtype == torch.float32:
                    raise

    def why(self, names: Sequence[str]) -> str:
        """Return why these groups break the law when they are cut at random together; "" if they hold it."""
        keep = {name: self._some_of(name) for name in names}
        keep = {name: units for name, units in keep.items() if len(units) < self.graph.groups[name].size}
        if not keep:
            return ""
        try:
            masked = self._masked(keep)
            cut = self._run(self._cut(keep))
        except Exception as error:  # the forward of a stranger may raise any kind
            return f"the cut model does not run: {_said(error)}"
        return self._difference(masked, cut, keep)

    def _some_of(self, name: str) -> list[int]:
        """Return about half of the units without the first; no grouping of the units divides their number."""
        group = self.graph.groups[name]
        size, least = group.size, group.minimum
        if size == 1:
            return [] if least == 0 else [0]
        count = next((n for n in range(max(size // 2, 2, least), size) if gcd(n, size) == 1), size - 1)
        return sorted(1 + self.random.choice(size - 1, max(count, least), replace=False))

    def _masked(self, keep: Keep) -> list[torch.Tensor]:
        groups = {name: group for name, group in self.graph.groups.items() if name in keep}
        gates = UnitGates(replace(self.graph, groups=groups, terms=()), groups)
        gates.to(self.dtype)
        with attach(self.copy, gates):
            gates.hold(keep)
            return self._run(self.copy)

    def _cut(self, keep: Keep) -> nn.Module:
        replaced = cut_tensors(self.copy, self.graph, keep, {})
        tensors = {**dict(self.copy.named_parameters()), **dict(self.copy.named_buffers())}
        memo: dict[int, object] = {id(value): value for value in tensors.values()}  # shared, not copied
        memo |= {id(tensors[name]): new for name, new in replaced.items()} | shared_hooks(self.copy)
        small = copy.deepcopy(self.copy, memo)
        restructure(small, self.graph, keep, {})
        return small

    def _run(self, model: nn.Module) -> list[torch.Tensor]:
        torch.manual_seed(0)
        found = list(_tensors(call(model, self.noise)))
        if not found:
            raise ValueError("its output holds no tensor of floating point numbers")
        # The first output of a known backbone is enough: the later ones are outputs of the units themselves.
        return found[:1] if self.known else found

    def _difference(self, masked: list[torch.Tensor], cut: list[torch.Tensor], keep: Keep) -> str:
        worst = 0.0
        for one, other in zip(masked, cut, strict=True):
            if one.shape != other.shape and self.known and "hidden" in keep:
                width = one.shape[-1] // self.graph.groups["hidden"].size
                one = one.view(*one.shape[:-1], -1, width)[..., keep["hidden"], :].flatten(-2)
            if one.shape != other.shape:
                return f"its units are outputs of the model: {tuple(one.shape)} becomes {tuple(other.shape)}"
            scale = float(one.abs().max()) or 1.0
            worst = max(worst, float((one - other).abs().max()) / scale) if one.numel() else worst
        if worst <= self.tolerance:
            return ""
        return (
            f"masked and cut differ by {worst:.2g} of the output, tried once on noise: its units are mixed "
            "or read where the graph does not see it"
        )


def _copy_of(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return a copy on the CPU in eval mode, its weights moved by a tenth of their size."""
    random = torch.Generator().manual_seed(1)
    memo = shared_hooks(model)
    for tensor in [*model.parameters(), *model.buffers()]:
        value = torch.zeros(tensor.shape, dtype=dtype if tensor.is_floating_point() else tensor.dtype)
        if not tensor.is_meta:  # an architecture without weights gets random ones
            value.copy_(tensor.detach())
        if tensor.is_floating_point():
            size = float(value.std()) if value.numel() > 1 else 0.0
            value += 0.1 * max(size, 0.1) * torch.rand(value.shape, generator=random).to(dtype)
        memo[id(tensor)] = nn.Parameter(value, False) if isinstance(tensor, nn.Parameter) else value
    for module in model.modules():  # the weight that old-style weight norm computed cannot be copied
        for each in vars(module).values():
            if isinstance(each, torch.Tensor) and each.grad_fn is not None:
                memo[id(each)] = each.detach().to("cpu", dtype)
    return copy.deepcopy(model, memo).eval()


def _tensors(output: object) -> Iterator[torch.Tensor]:
    """Yield the floating point tensors in the output of a model, in order."""
    if isinstance(output, torch.Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, Mapping):
        for each in output.values():
            yield from _tensors(each)
    elif isinstance(output, list | tuple):
        for each in output:
            yield from _tensors(each)
    elif is_dataclass(output):
        for each in fields(output):
            yield from _tensors(getattr(output, each.name))


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
