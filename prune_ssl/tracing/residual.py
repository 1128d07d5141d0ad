"""The group `hidden`: the width of the residual stream, through everything that writes, norms or reads it."""

from collections.abc import Collection, Iterator
from math import gcd
from typing import Any

import numpy as np
from torch import nn

from prune_ssl.models import Family
from prune_ssl.models.empty import Nothing
from prune_ssl.models.layers import is_alive, submodule_or_none
from prune_ssl.models.registry import head_reader_of
from prune_ssl.tracing.coupling import producer, slice_of, stored_name
from prune_ssl.tracing.graph import Group, ParameterSlice, Role, SplitReader


class Residual:
    """Collects the slices of the residual stream; every parameter of its width must have a known role.

    Units are the groups of the positional convolution (48 dimensions in Base), or single dimensions without
    one; rotary positions turn whole slices of a head's size, relative ones want an even width. Behind an
    upsampling the model's output has a width of its own, the group `upsampled`. `why` says what stands in the
    way when there is no group.
    """

    def __init__(self, twin: nn.Module, family: Family, prefix: str, stored: Collection[str]) -> None:
        self.twin, self.family, self.prefix, self.stored = twin, family, prefix, stored
        backbone: Any = twin.get_submodule(prefix.rstrip("."))
        self.backbone: Any = backbone
        self.writer = family.writer(backbone)
        writer = submodule_or_none(backbone, self.writer)
        self.width: int = 0 if writer is None else len(writer.get_parameter("weight"))
        self.slices: list[ParameterSlice] = []
        self.norms: list[str] = []
        self.splits: list[SplitReader] = []
        self.seen: set[str] = set()
        self.why = ""

    def groups(self) -> Iterator[Group]:
        """Yield `hidden`, and `upsampled` where there is one; or nothing, with the reason in `why`."""
        self.why = self._obstacle()
        if self.why:
            return
        self.units = self._units()
        self._writer(self.writer)
        for name in self.family.residual:
            if self.prefix + name in self.stored:
                axis = self.backbone.get_parameter(name).dim() - 1
                self._add(self.prefix + name, axis, "producer")
        self._layers()
        self._around_layers()
        upsampled = self._upsampled()
        if upsampled is None and not self.family.upsampling:
            self._head()
        self.why = self._unaccounted()
        if self.why:
            return
        yield Group(
            "hidden",
            "hidden",
            self.units,
            tuple(self.slices),
            minimum=2 if self.family.even_width else 1,
            norms=tuple(self.norms),
            splits=tuple(self.splits),
        )
        if upsampled is not None:
            yield upsampled

    def _obstacle(self) -> str:
        config = getattr(self.backbone, "config", None)
        if not self.width:
            return "no feature projection: the frontend's channels are the residual stream"
        ties = (why for name, why in self.family.lacks if getattr(config, name, False))
        return next(ties, "")

    def _position_convs(self) -> list[str]:
        return self.family.position_convs_of(self.backbone)

    def _units(self) -> int:
        units = 0
        for path in self._position_convs():
            units = gcd(units, int(self.backbone.get_submodule(path).groups))
        units = units or self.width
        config: Any = getattr(self.backbone, "config", None)
        positions = self.family.attention.kind(config)
        if positions == "rotary":
            return gcd(units, int(config.num_attention_heads))
        # The stock constructor of a table of relative or sinusoidal positions wants an even width.
        if positions == "relative" or self.family.even_width:
            return gcd(units, self.width // 2)
        return units

    # -- slices

    def _add(self, name: str, dim: int, role: Role) -> None:
        entries = np.arange(self.width).reshape(self.units, -1)
        self.slices.append(ParameterSlice(name, dim, role, entries))
        self.seen.add(name)

    def _writer(self, path: str, prefix: str | None = None) -> None:
        path = (self.prefix if prefix is None else prefix) + path
        for leaf, _ in self.twin.get_submodule(path).named_parameters():
            name = stored_name(self.stored, path) if leaf == "weight" else f"{path}.{leaf}"
            self._add(name, 0, "producer")

    def _reader(self, path: str, prefix: str | None = None) -> None:
        path = (self.prefix if prefix is None else prefix) + path
        self._add(f"{path}.weight", 1, "consumer")
        self.seen.add(f"{path}.bias")

    def _norm(self, path: str) -> None:
        self.norms.append(self.prefix + path)
        for leaf, _ in self.backbone.get_submodule(path).named_parameters():
            self._add(f"{self.prefix}{path}.{leaf}", 0, "norm")

    # -- where they are

    def _layers(self) -> None:
        family = self.family
        for index, layer in enumerate(family.layers(self.backbone)):
            path, inner = family.layer_path(index), set()
            if is_alive(layer, family.attention):
                block = family.attention.path
                for leaf in family.attention.input_weights:
                    name = f"{self.prefix}{path}.{block}.{leaf}"
                    if name in self.stored:  # else it reuses a map
                        self._add(name, 1, "consumer")
                        self.seen.add(name.removesuffix("weight") + "bias")
                for leaf in family.attention.tables:
                    if submodule_or_none(layer, f"{block}.{leaf}") is not None:
                        self._reader(f"{path}.{block}.{leaf}")
                if family.attention.by_slices:
                    self._split_reader(f"{path}.{block}", layer.get_submodule(block))
            self._left_or_writer(layer, path, f"{family.attention.path}.{family.attention.output}")
            for roles in family.ffns:
                first = submodule_or_none(layer, roles.first)
                if isinstance(first, nn.Linear):
                    self._reader(f"{path}.{roles.first}")
                elif first is not None and not isinstance(first, Nothing):
                    name = f"{self.prefix}{path}.{roles.first}"
                    self.why = f"{name} is a {type(first).__name__}, wanted a Linear"
                self._left_or_writer(layer, path, roles.second)
            roles_of_conv = family.convolution
            if roles_of_conv is not None and submodule_or_none(
                layer, f"{roles_of_conv.path}.{roles_of_conv.first}"
            ):
                self._reader(f"{path}.{roles_of_conv.path}.{roles_of_conv.first}")
                self._writer(f"{path}.{roles_of_conv.path}.{roles_of_conv.second}")
                inner = {f"{roles_of_conv.path}.{roles_of_conv.norm}"}
            for name, module in layer.named_modules():
                if isinstance(module, nn.LayerNorm) and name not in inner:
                    self._norm(f"{path}.{name}")
            for down, up in family.bottlenecks:
                if submodule_or_none(layer, down) is not None:
                    self._reader(f"{path}.{down}")
                    self._writer(f"{path}.{up}")

    def _split_reader(self, path: str, attention: Any) -> None:
        """A gate reads one slice of the original residual for every kept head, with one Linear."""
        read: Any = attention.get_submodule(self.family.attention.by_slices)
        heads, count = attention.heads, attention.original_heads
        unit_of = np.full(count * read.in_features, -1)
        unit_of[attention.residual.dims if attention.residual else list(range(unit_of.size))] = (
            np.arange(self.width) * self.units // self.width
        )
        name = f"{self.prefix}{path}.{self.family.attention.by_slices}"
        self.splits.append(SplitReader(name, unit_of.reshape(count, -1)[heads]))
        self.seen |= {f"{name}.weight", f"{name}.bias"}

    def _left_or_writer(self, layer: nn.Module, path: str, name: str) -> None:
        if submodule_or_none(layer, name) is not None:
            self._writer(f"{path}.{name}")

    def _around_layers(self) -> None:
        """Positional convolutions in whole groups, norms beside the layers."""
        for path in self._position_convs():
            self._writer(path)
        inside = f"{self.family.layers_path}."
        for path, module in self.backbone.named_modules():
            around = self.family.section(path) in ("position", "encoder") and not path.startswith(inside)
            if isinstance(module, nn.LayerNorm) and around:
                self._norm(path)

    def _upsampled(self) -> Group | None:
        """Return the group of the width behind an upsampling, where one Linear of a head reads it."""
        path = self.prefix + self.family.upsampling
        if not self.family.upsampling:
            return None
        self._reader(self.family.upsampling)
        reader = head_reader_of(self.twin, self.family) if self.prefix else None
        if reader is None:
            return None
        columns = slice_of(self.twin, f"{reader}.weight", 1, "consumer")
        size = columns.index.shape[0]
        slices = [
            ParameterSlice(part.parameter, 0, "producer", part.index.reshape(-1, size).T)
            for part in producer(self.twin, path)
        ]
        return Group("upsampled", "hidden", size, (*slices, columns), minimum=1)

    def _head(self) -> None:
        if self.family.library != "transformers":
            if self.prefix:
                self.why = (
                    f"the head of {type(self.twin).__name__} is not known to read the residual in one place"
                )
            for _, path in self.family.head_readers:
                if not self.prefix and submodule_or_none(self.backbone, path) is not None:
                    self._reader(path)
            return
        if not self.prefix:
            return
        reader = head_reader_of(self.twin, self.family)
        if reader is None:
            self.why = (
                f"the head of {type(self.twin).__name__} is not known to read the residual in one place"
            )
            return
        self._reader(reader, prefix="")

    def _unaccounted(self) -> str:
        """Return why a parameter stands in the way: it has the residual's width and no known role."""
        if self.why:
            return self.why
        roles = self.family.convolution
        own = [each.first for each in self.family.ffns]
        own += [path for path, _ in self.family.attention.per_head]
        own += [] if roles is None else [roles.depthwise, roles.norm, roles.first, roles.second]
        held = self.backbone.state_dict(keep_vars=True)
        for name in self.stored:
            inner = name.removeprefix(self.prefix)
            frontend = self.family.section(inner) in ("frontend", "projection")
            if not name.startswith(self.prefix) or name in self.seen or frontend:
                continue
            value = held.get(inner)
            # What belongs to units of a layer may happen to be as wide as the residual.
            units = any(f".{path}." in f".{inner}." for path in own)
            if value is not None and self.width in value.shape and not units:
                return f"{name} has the residual's width and no role that prune_ssl knows"
        return ""
