"""Collects the slices of the residual stream: the parameters that write, normalise or read its dimensions."""

from collections.abc import Collection

import numpy as np
from torch import nn

from prune_ssl.models.attention import OpenAttention
from prune_ssl.models.layers import submodule_or_none
from prune_ssl.tracing.coupling import stored_name
from prune_ssl.tracing.graph import ParameterSlice, Role, SplitReader


class StreamSlices:
    """The slices of a stream of `width` dimensions in `units` equal units; paths start at the whole model.

    `seen` names the parameters with a known role, also those of which no entry belongs to a dimension.
    """

    def __init__(self, twin: nn.Module, stored: Collection[str], width: int, units: int) -> None:
        self.twin, self.stored, self.width, self.units = twin, stored, width, units
        self.slices: list[ParameterSlice] = []
        self.norms: list[str] = []
        self.splits: list[SplitReader] = []
        self.seen: set[str] = set()

    def add(self, name: str, dim: int, role: Role) -> None:
        """Add a parameter that has an entry for each dimension along its axis `dim`."""
        entries = np.arange(self.width).reshape(self.units, -1)
        self.slices.append(ParameterSlice(name, dim, role, entries))
        self.seen.add(name)

    def add_writer(self, path: str) -> None:
        """Add a module whose output is the stream, or is added to it."""
        for leaf, _ in self.twin.get_submodule(path).named_parameters():
            name = stored_name(self.stored, path) if leaf == "weight" else f"{path}.{leaf}"
            self.add(name, 0, "producer")

    def add_writer_if_left(self, path: str) -> None:
        """Add a writer that an earlier cut may have removed."""
        if submodule_or_none(self.twin, path) is not None:
            self.add_writer(path)

    def add_reader(self, path: str) -> None:
        """Add a module whose input is the stream."""
        self.add(f"{path}.weight", 1, "consumer")
        self.seen.add(f"{path}.bias")

    def add_norm(self, path: str) -> None:
        """Add a norm over the stream."""
        self.norms.append(path)
        for leaf, _ in self.twin.get_submodule(path).named_parameters():
            self.add(f"{path}.{leaf}", 0, "norm")

    def add_split_reader(self, path: str, attention: OpenAttention) -> None:
        """Add a Linear of an attention that reads, for each kept head, a slice of the original stream."""
        columns = self.twin.get_parameter(f"{path}.weight").shape[1]
        unit_of = np.full(attention.original_heads * columns, -1)
        dims = attention.residual.dims if attention.residual else list(range(unit_of.size))
        unit_of[dims] = np.arange(self.width) * self.units // self.width
        by_head = unit_of.reshape(attention.original_heads, -1)
        self.splits.append(SplitReader(path, by_head[attention.heads]))
        self.seen |= {f"{path}.weight", f"{path}.bias"}
