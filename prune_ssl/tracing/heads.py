"""Heads by a general rule: three Linears make queries, keys and values, and the module states its heads."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from prune_ssl.errors import TraceError
from prune_ssl.tracing.cost import Clock, conv_frames
from prune_ssl.tracing.coupling import Couplings, producer, slice_of
from prune_ssl.tracing.example import Inputs, call
from prune_ssl.tracing.graph import Group

PROJECTIONS = (
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("query_proj", "key_proj", "value_proj"),
    ("linear_q", "linear_k", "linear_v"),
    ("to_q", "to_k", "to_v"),
    ("wq", "wk", "wv"),
    ("q", "k", "v"),
)
"""Names of the three Linears: queries, keys, values."""
COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads")
SIZES = ("head_dim", "attention_head_size", "head_size", "d_head", "dim_head", "d_k")
WHOLE = ("all_head_size", "embed_dim", "inner_dim")
"""Names by which a module states the number of its heads, the size of one, and the size of all."""


@dataclass(frozen=True)
class Attention:
    """An attention that the rule found."""

    path: str
    values: str
    """Path of the Linear that makes the values."""
    width: int
    """Dimensions of all heads together."""
    group: Group | None
    """Its heads, None where they cannot be cut; what it computes counts all the same."""


class HeadRule:
    """Finds attentions on a twin; `not_pruned` has the reason for each that only looks like one.

    The graph must couple the values with one reader alone, the output projection, and with nothing but the
    queries and keys. What the rule finds is tried on a copy like all else of an unknown model.
    """

    def __init__(self, twin: nn.Module, couplings: Couplings) -> None:
        self.twin, self.couplings = twin, couplings
        self.not_pruned: dict[str, str] = {}

    def attentions(self) -> Iterator[Attention]:
        """Yield the attentions in the order of the modules, with or without a group of heads."""
        reached = set(self.couplings.graph.module2node)
        for path, module in self.twin.named_modules():
            for names in PROJECTIONS:
                linears = [getattr(module, name, None) for name in names]
                if all(isinstance(each, nn.Linear) and each in reached for each in linears):
                    found = self._attention(path, module, names)
                    if found is not None:
                        yield found

    def _attention(self, path: str, module: nn.Module, names: Sequence[str]) -> Attention | None:
        rows = {len(module.get_submodule(name).get_parameter("weight")) for name in names}
        size = _stated(module, SIZES)
        count = _stated(module, COUNTS) or (max(rows) // size if size else 0)
        why = ""
        if len(rows) > 1:
            why = "its queries, keys and values differ in width"
        elif not count or max(rows) % count or size not in (0, max(rows) // count):
            why = "it does not state a number of heads that fits its queries, keys and values"
        if why:
            self.not_pruned[path] = why
            return None
        values = f"{path}.{names[2]}"
        return Attention(path, values, max(rows), self._group(path, module, names, count))

    def _group(self, path: str, module: nn.Module, names: Sequence[str], count: int) -> Group | None:
        values, name = f"{path}.{names[2]}", _name(path)
        width = len(self.twin.get_submodule(values).get_parameter("weight"))
        size = width // count
        try:
            coupled = self.couplings.coupled(values, name, attention=True)
        except TraceError as error:
            self.not_pruned[path] = str(error)
            return None
        own = {f"{path}.{each}" for each in names}
        readers = [part for part in coupled if part.role == "consumer"]
        odd = {part.module for part in coupled if part.role != "consumer"} - own
        if odd or len(readers) != 1:
            self.not_pruned[path] = (
                f"its values are coupled with {', '.join(sorted(odd))}"
                if odd
                else f"{len(readers)} modules read its values, wanted one output projection"
            )
            return None
        slices = [part for each in names for part in producer(self.twin, f"{path}.{each}", size)]
        slices.append(slice_of(self.twin, readers[0].parameter, 1, "consumer", size))
        stated = [(each, 1) for each in COUNTS if getattr(module, each, None) == count]
        stated += [(each, size) for each in WHOLE if getattr(module, each, None) == width]
        return Group(
            name,
            "heads",
            count,
            tuple(slices),
            minimum=1,
            block=path,
            stated=tuple((f"{path}.{leaf}", each) for leaf, each in stated),
        )


def _stated(module: nn.Module, names: Sequence[str]) -> int:
    """Return the first whole number that a module states by one of these names, 0 where there is none."""
    values = (getattr(module, name, None) for name in names)
    return next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), 0)


def _name(path: str) -> str:
    """Return layer.{i}.heads in numbered layers, else the path with `.heads`."""
    numbers = [part for part in path.split(".") if part.isdigit()]
    return f"layer.{numbers[0]}.heads" if len(numbers) == 1 else f"{path}.heads"


def product_clock(clock: Clock) -> Clock | None:
    """Return how often a query meets a key, twice (for QK^T and AV), None where the clock does not say.

    Args:
        clock: of the Linear that makes the values, for one clip.
    """
    constant, linear, square = clock.coefficients
    if (linear, square) == (0, 0):
        return Clock(clock.index, (2 * constant * constant, 0, 0))
    return Clock(clock.index, (0, 0, 2)) if (constant, linear, square) == (0, 1, 0) else None


def miscounted(
    twin: nn.Module,
    inputs: Inputs,
    samples: int,
    attentions: Sequence[Attention],
    clocks: dict[str, Clock],
    kernels: Sequence[tuple[int, int]],
) -> dict[str, str]:
    """Return path -> why, of attentions whose multiply-adds are not those that the rule predicts.

    The twin is run once, and torch counts what each attention does.
    """
    done: dict[str, int] = {}
    frames = conv_frames(samples, kernels)
    counter = FlopCounterMode(display=False)
    handles = []
    for each in attentions:
        module = twin.get_submodule(each.path)

        def begin(_module: nn.Module, _args: object, path: str = each.path) -> None:
            done[path] = done.get(path, 0) - counter.get_total_flops()

        def end(_module: nn.Module, _args: object, _output: object, path: str = each.path) -> None:
            done[path] += counter.get_total_flops()

        handles += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
    try:
        with counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            call(twin, inputs)
    finally:
        for handle in handles:
            handle.remove()
    wrong = {}
    for each in attentions:
        product = product_clock(clocks[each.values])
        inside = [path for path in clocks if path.startswith(f"{each.path}.")]
        linear = sum(
            clocks[path].ticks(frames) * twin.get_submodule(path).get_parameter("weight").numel()
            for path in inside
        )
        if product is None or done[each.path] != 2 * (linear + each.width * product.ticks(frames)):
            wrong[each.path] = (
                "it does more than the products of queries with keys and of maps with values, so what a head "
                "costs is not known"
            )
    return wrong
