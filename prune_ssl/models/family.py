"""What a family says of its architecture: classes, input, and where everything sits; paths as data."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import transformers
from torch import nn

from prune_ssl.models.attention import OpenAttention
from prune_ssl.models.inputs import WAVEFORM, Input

Coefficients = tuple[int, int, int]
Section = Literal["frontend", "projection", "position", "encoder", "head"]


def content_only(attention: nn.Module) -> Coefficients:
    """QK^T and AV: 2 T^2; AV alone where the map is that of the layer below."""
    return (0, 0, 1 if getattr(attention, "source", ()) else 2)


def plain_keys(attention: nn.Module) -> tuple[str, ...]:
    """Scaling the keys is enough in q k^T."""
    return ("k_proj",)


@dataclass(frozen=True, kw_only=True)
class AttentionRoles:
    """One attention: its Linear quadruple, and what else belongs to a head. Paths are within the block.

    `fused` is torch's own attention when its one parameter makes queries, keys and values. `per_head` names
    further parameters (path, dim) that hold equal parts for every head, `per_dimension` those with an entry
    for each dimension of a head, once or in every head's part. `head_size` and `head_count` name the module's
    own account of its sizes. `tables` are Linears that read a table of the residual's width, `by_slices` one
    that reads the residual in a slice per original head. `shared` are parameters of the first attention that
    serve all layers. `positions` says whether relative positions take part in the scores, `kind_field`
    names the attribute (of config and module) that says which, and `reads_positions` the Linear that reads
    their table. `products` gives the multiply-adds per head and head dimension as coefficients of 1, T, T^2.

    `opened` is our own attention, where the stock one is no graph's to see through or cannot hold any subset
    of its heads. `post_norm` is a norm inside the block that belongs to the residual and stays with it.

    `factors` gives the Linears whose outputs enter every product of the scores exactly once, so that scaling
    them scales a dimension's part in the scores. `size_scales` are Linears that make up for a scale that the
    forward takes from the size of the queries.
    """

    path: str = "attention"
    queries: str = "q_proj"
    keys: str = "k_proj"
    values: str = "v_proj"
    output: str = "out_proj"
    fused: str = ""
    head_size: str = "head_dim"
    head_count: str = "num_heads"
    per_head: tuple[tuple[str, int], ...] = ()
    per_dimension: tuple[tuple[str, int], ...] = ()
    tables: tuple[str, ...] = ()
    by_slices: str = ""
    factors: Callable[[nn.Module], tuple[str, ...]] = plain_keys
    size_scales: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    post_norm: str = ""
    opened: type[OpenAttention] | None = None
    kind_field: str = ""
    reads_positions: str = ""
    positions: bool = False
    products: Callable[[nn.Module], Coefficients] = content_only

    def kind(self, owner: object) -> str:
        """Return the kind of positions that an attention or a config states ("": none)."""
        return str(getattr(owner, self.kind_field, "")) if self.kind_field else ""

    @property
    def projections(self) -> tuple[str, str, str]:
        """Queries, keys, values."""
        return self.queries, self.keys, self.values

    @property
    def input_weights(self) -> tuple[str, ...]:
        """The parameters that make queries, keys and values."""
        if self.fused:
            return (f"{self.fused}.in_proj_weight",)
        return tuple(f"{each}.weight" for each in self.projections)


@dataclass(frozen=True, kw_only=True)
class FeedForwardRoles:
    """One feed-forward: group name, block name, and its two Linears. Paths are within the layer."""

    first: str
    second: str
    group: str = "ffn"
    block: str = "feed_forward"
    field: str = "intermediate_size"


@dataclass(frozen=True, kw_only=True)
class ConvolutionRoles:
    """A conformer's convolution module: pointwise (with a GLU), depthwise, norm, pointwise."""

    path: str = "conv_module"
    first: str = "pointwise_conv1"
    depthwise: str = "depthwise_conv"
    norm: str = "batch_norm"
    second: str = "pointwise_conv2"


@dataclass(frozen=True, kw_only=True)
class Classes:
    """Names of the stock classes in transformers: of the config, the bare model, and each model with a head.

    `heads` are (class, Auto class). An x-vector class that transformers lacks is made here. A name with dots
    is a path from the package.
    """

    config: str
    bare: str
    heads: tuple[tuple[str, str], ...] = ()

    @property
    def models(self) -> tuple[tuple[str, str], ...]:
        """(class, Auto class) of every model, the bare one first."""
        return ((self.bare, "AutoModel"), *self.heads)


@dataclass(frozen=True, kw_only=True)
class Family:
    """Where the roles of one architecture sit; paths are relative to the backbone, `{i}` counts layers.

    In the path of convolutions `{i}` counts from 0, `{n}` from 1. Where a family has no projection, its last
    convolution writes the residual stream.

    `sections` maps a path prefix to its section, the first match wins; everything outside the backbone is
    `head`. `position_convs` are grouped convolutions over the residual stream, `residual` further parameters
    that are as wide as it in their last axis. `lacks` names config fields that put the residual's width out
    of reach, each with the reason.
    """

    name: str
    library: Literal["transformers", "torchaudio", "none"] = "transformers"
    classes: Classes | None = None
    recognises: Callable[[nn.Module], bool] | None = None  # of torchaudio, whose models have no config
    input: Input = WAVEFORM
    inside: str = ""  # the backbone in a model with a head, where `base_model_prefix` does not say it
    conv: str = ""  # the frontend's convolutions
    projection: str = ""
    projection_pair: bool = True  # its module returns the normalised features too
    projection_flag: str = ""  # attribute of the backbone: whether there is one
    layer: str = ""
    attention: AttentionRoles = AttentionRoles()
    ffns: tuple[FeedForwardRoles, ...] = ()
    convolution: ConvolutionRoles | None = None
    bottlenecks: tuple[tuple[str, str], ...] = ()  # pairs of Linears in a layer, off the residual and back
    position_convs: str = ""
    position_table: str = ""  # module with the table of relative positions
    residual: tuple[str, ...] = ()
    even_width: bool = False  # the stock constructor wants an even residual width, of 4 or more
    sections: tuple[tuple[str, Section], ...] = ()
    # Linears outside the backbone that read the (normalised) output of the last convolution through an
    # operation without a gradient, which a graph built from autograd cannot see (the quantiser's argmax).
    last_conv_readers: tuple[str, ...] = ()
    # Class suffix -> the Linear of the head that reads the residual stream.
    head_readers: tuple[tuple[str, str], ...] = ()
    squeeze: str = ""  # config field: the encoder runs on one of so many frames
    # The Linear behind a squeezed encoder: from the residual to as many frames of output.
    upsampling: str = ""
    adapter: str = ""  # module behind the encoder whose strided convolutions shorten time
    lacks: tuple[tuple[str, str], ...] = ()
    makes_constants: bool = False  # the forward makes tensors on the default device, whatever its input's
    channel_norms: tuple[type[nn.LayerNorm], ...] = ()  # norms over the second axis of (B, C, T)
    layers_return_bias: bool = False  # (output, position bias), not the output alone

    @property
    def layers_path(self) -> str:
        """Path of the encoder layers."""
        return self.layer.partition(".{i}")[0]

    def layer_path(self, index: int | str) -> str:
        """Return the path of one encoder layer."""
        return self.layer.format(i=index)

    def layers(self, backbone: nn.Module) -> list[nn.Module]:
        """Return the encoder layers in order."""
        held = backbone.get_submodule(self.layers_path)
        assert isinstance(held, Iterable)
        return list(held)

    def convs(self, backbone: nn.Module) -> list[str]:
        """Return the paths of the frontend's convolutions that are there, in order."""
        return _numbered(self.conv, backbone)

    def position_convs_of(self, backbone: nn.Module) -> list[str]:
        """Return the paths of the positional convolutions that are there."""
        return _numbered(self.position_convs, backbone)

    def writer(self, backbone: nn.Module) -> str:
        """Return the path of the module whose output is the residual stream, "" where there is none."""
        if self.projection or not self.conv:
            return self.projection
        return self.convs(backbone)[-1]

    def part(self, path: str) -> str:
        """Return `layer.{i}` or `conv.{i}` for what belongs to one of them, else ""."""
        for pattern, name, first in (
            (f"{self.layer}.", "layer", 0),
            (f"{self.conv}.", "conv", int("{n}" in self.conv)),
        ):
            start = pattern.partition("{")[0]
            found = re.match(re.escape(start) + r"(\d+)\.", f"{path}.") if start.strip(".") else None
            if found:
                return f"{name}.{int(found.group(1)) - first}"
        return ""

    def section(self, path: str) -> Section:
        """Return the section of a module or parameter of the backbone."""
        return next((name for start, name in self.sections if path.startswith(start)), "head")

    @property
    def states_conv_widths(self) -> bool:
        """Whether the stock config has a width for each convolution of the frontend."""
        return bool(self.conv and self.classes) and hasattr(self.stock("config"), "conv_dim")

    @property
    def ffn_field(self) -> str:
        """Field of the stock config with the width of all feed-forwards."""
        own = self.ffns[0].field if self.ffns else ""
        return own if own and hasattr(self.stock("config"), own) else "intermediate_size"

    def stock(self, which: Literal["config", "bare"]) -> Any:
        """Return the stock class of the config or of the bare model.

        Raises:
            AttributeError: the installed transformers has none.
        """
        assert self.classes is not None
        return stock_class(self.classes.config if which == "config" else self.classes.bare)


def _numbered(pattern: str, backbone: nn.Module) -> list[str]:
    known = {path for path, _ in backbone.named_modules()}
    if "{" not in pattern:
        return [pattern] if pattern and pattern in known else []
    found: list[str] = []
    while (path := pattern.format(i=len(found), n=len(found) + 1)) in known:
        found.append(path)
    return found


def stock_class(name: str) -> Any:
    """Return a class of transformers by its name, or by its path from the package.

    Raises:
        AttributeError: the installed transformers has none.
    """
    module, _, leaf = name.rpartition(".")
    return getattr(import_module(f"transformers.{module}") if module else transformers, leaf)
