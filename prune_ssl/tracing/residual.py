"""Finds the group `hidden`: the width of the residual stream, through all that writes or reads it."""

from collections.abc import Collection, Iterator
from math import gcd

from torch import nn

from prune_ssl.models import Family
from prune_ssl.models.attention import OpenAttention
from prune_ssl.models.empty import Nothing
from prune_ssl.models.layers import is_alive, stated_size, submodule_or_none
from prune_ssl.models.registry import head_reader_of
from prune_ssl.tracing.coupling import producer, slice_of
from prune_ssl.tracing.graph import Group, ParameterSlice
from prune_ssl.tracing.stream import StreamSlices


class Residual:
    """Walks through a model along its residual stream; every parameter of its width must have a known role.

    A unit is a group of the positional convolution (48 dimensions in Base), or a single dimension in a model
    without one. Rotary positions turn whole slices of a head's size, and relative positions want an even
    width. Behind an upsampling the output of the model has a width of its own, the group `upsampled`. If
    there is no group, `why` is the reason.
    """

    def __init__(self, twin: nn.Module, family: Family, prefix: str, stored: Collection[str]) -> None:
        self.twin, self.family, self.prefix, self.stored = twin, family, prefix, stored
        self.backbone = twin.get_submodule(prefix.rstrip("."))
        self.writer = family.writer(self.backbone)
        writer = submodule_or_none(self.backbone, self.writer)
        self.width = 0 if writer is None else len(writer.get_parameter("weight"))
        self.why = ""

    def groups(self) -> Iterator[Group]:
        """Yield `hidden`, and `upsampled` if there is one; or nothing, with the reason in `why`."""
        self.why = self._obstacle()
        if self.why:
            return
        units = self._units()
        self.stream = StreamSlices(self.twin, self.stored, self.width, units)
        self.stream.add_writer(self.prefix + self.writer)
        for name in self.family.residual:
            if self.prefix + name in self.stored:
                axis = self.backbone.get_parameter(name).dim() - 1
                self.stream.add(self.prefix + name, axis, "producer")
        for index, layer in enumerate(self.family.layers(self.backbone)):
            self._layer(self.prefix + self.family.layer_path(index), layer)
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
            units,
            tuple(self.stream.slices),
            minimum=2 if self.family.even_width else 1,
            norms=tuple(self.stream.norms),
            splits=tuple(self.stream.splits),
        )
        if upsampled is not None:
            yield upsampled

    def _obstacle(self) -> str:
        config = getattr(self.backbone, "config", None)
        if not self.width:
            return "no feature projection: the frontend's channels are the residual stream"
        ties = (why for name, why in self.family.lacks if getattr(config, name, False))
        return next(ties, "")

    def _units(self) -> int:
        units = 0
        for path in self.family.position_convs_of(self.backbone):
            units = gcd(units, stated_size(self.backbone, f"{path}.groups"))
        units = units or self.width
        config = getattr(self.backbone, "config", None)
        positions = self.family.attention.kind(config)
        if positions == "rotary":
            return gcd(units, int(getattr(config, "num_attention_heads", units)))
        # The stock constructor of a table of relative or sinusoidal positions wants an even width.
        if positions == "relative" or self.family.even_width:
            return gcd(units, self.width // 2)
        return units

    # -- layers

    def _layer(self, path: str, layer: nn.Module) -> None:
        if is_alive(layer, self.family.attention):
            self._attention(f"{path}.{self.family.attention.path}")
        self.stream.add_writer_if_left(f"{path}.{self.family.attention.path}.{self.family.attention.output}")
        self._feed_forwards(path, layer)
        not_of_the_stream = self._convolution(path, layer)
        for name, module in layer.named_modules():
            if isinstance(module, nn.LayerNorm) and name != not_of_the_stream:
                self.stream.add_norm(f"{path}.{name}")
        for down, up in self.family.bottlenecks:
            if submodule_or_none(layer, down) is not None:
                self.stream.add_reader(f"{path}.{down}")
                self.stream.add_writer(f"{path}.{up}")

    def _attention(self, path: str) -> None:
        roles, block = self.family.attention, self.twin.get_submodule(path)
        for leaf in roles.input_weights:
            name = f"{path}.{leaf}"
            if name in self.stored:  # an attention that reuses a map has no queries and keys
                self.stream.add(name, 1, "consumer")
                self.stream.seen.add(name.removesuffix("weight") + "bias")
        for leaf in roles.tables:
            if submodule_or_none(block, leaf) is not None:
                self.stream.add_reader(f"{path}.{leaf}")
        if roles.by_slices and isinstance(block, OpenAttention):
            self.stream.add_split_reader(f"{path}.{roles.by_slices}", block)

    def _feed_forwards(self, path: str, layer: nn.Module) -> None:
        for roles in self.family.ffns:
            first = submodule_or_none(layer, roles.first)
            if isinstance(first, nn.Linear):
                self.stream.add_reader(f"{path}.{roles.first}")
            elif first is not None and not isinstance(first, Nothing):
                self.why = f"{path}.{roles.first} is a {type(first).__name__}, wanted a Linear"
            self.stream.add_writer_if_left(f"{path}.{roles.second}")

    def _convolution(self, path: str, layer: nn.Module) -> str:
        """Add the convolution module, and return the path of its norm, which is over channels of its own."""
        roles = self.family.convolution
        if roles is None or submodule_or_none(layer, f"{roles.path}.{roles.first}") is None:
            return ""
        self.stream.add_reader(f"{path}.{roles.path}.{roles.first}")
        self.stream.add_writer(f"{path}.{roles.path}.{roles.second}")
        return f"{roles.path}.{roles.norm}"

    # -- around the layers

    def _around_layers(self) -> None:
        """Add the positional convolutions and the norms outside the layers."""
        for path in self.family.position_convs_of(self.backbone):
            self.stream.add_writer(self.prefix + path)
        inside = f"{self.family.layers_path}."
        for path, module in self.backbone.named_modules():
            around = self.family.section(path) in ("position", "encoder") and not path.startswith(inside)
            if isinstance(module, nn.LayerNorm) and around:
                self.stream.add_norm(self.prefix + path)

    def _upsampled(self) -> Group | None:
        """Return the group of the width behind an upsampling, if one Linear of a head reads it."""
        path = self.prefix + self.family.upsampling
        if not self.family.upsampling:
            return None
        self.stream.add_reader(path)
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
        """Add the Linear of the head that reads the stream; a head without a known one is an obstacle."""
        if not self.prefix:  # a bare model, or a model of torchaudio that may have a head at its top level
            known = self.family.head_readers if self.family.library != "transformers" else ()
            there = [path for _, path in known if submodule_or_none(self.twin, path) is not None]
            for path in there:
                self.stream.add_reader(path)
            return
        transformers = self.family.library == "transformers"
        reader = head_reader_of(self.twin, self.family) if transformers else None
        if reader is None:
            name = type(self.twin).__name__
            self.why = f"the head of {name} is not known to read the residual in one place"
            return
        self.stream.add_reader(reader)

    def _unaccounted(self) -> str:
        """Return why a parameter stands in the way: it has the width of the stream and no known role."""
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
            if not name.startswith(self.prefix) or name in self.stream.seen or frontend:
                continue
            value = held.get(inner)
            # A parameter that belongs to units of a layer may happen to be as wide as the stream.
            units = any(f".{path}." in f".{inner}." for path in own)
            if value is not None and self.width in value.shape and not units:
                return f"{name} has the residual's width and no role that prune_ssl knows"
        return ""
