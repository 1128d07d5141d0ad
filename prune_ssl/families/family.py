"""Family: what no graph can know about a speech SSL architecture, as data."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import transformers
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

Coefficients = tuple[int, int, int]
"""Multiply-adds per head and head dimension, as coefficients of 1, T, T^2."""
Library = Literal["transformers", "torchaudio", "none"]
"""Where a family's classes are defined; `none`: a model of no known family."""


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
    that reads the residual in a slice per original head. `style` says what the block returns and what it
    holds beside, `positions` whether relative positions take part in the scores. `products` gives the
    multiply-adds per head and head dimension as coefficients of 1, T, T^2.

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
    style: Literal["plain", "position bias", "post-norm"] = "plain"
    positions: bool = False
    products: Callable[[nn.Module], Coefficients] = content_only

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

    group: str = "ffn"
    block: str = "feed_forward"
    first: str = "feed_forward.intermediate_dense"
    second: str = "feed_forward.output_dense"
    field: str = "intermediate_size"


@dataclass(frozen=True, kw_only=True)
class ConvolutionRoles:
    """A conformer's convolution module: pointwise (with a GLU), depthwise, norm, pointwise."""

    path: str = "conv_module"
    first: str = "pointwise_conv1"
    depthwise: str = "depthwise_conv"
    norm: str = "batch_norm"
    second: str = "pointwise_conv2"


HEAD_READERS = (
    ("ForCTC", "lm_head"),
    ("ForSequenceClassification", "projector"),
    ("ForAudioFrameClassification", "classifier"),
    ("ForXVector", "projector"),
)
HEADS = (
    ("Model", "AutoModel"),
    ("ForCTC", "AutoModelForCTC"),
    ("ForSequenceClassification", "AutoModelForAudioClassification"),
    ("ForAudioFrameClassification", "AutoModelForAudioFrameClassification"),
    ("ForXVector", "AutoModelForAudioXVector"),
    ("ForPreTraining", "AutoModelForPreTraining"),
)
"""Ends of class names, the bare model's first, and the Auto class of each."""
SECTIONS = (
    ("feature_extractor", "frontend"),
    ("feature_projection", "projection"),
    ("layer_norm", "projection"),
    ("masked_spec_embed", "projection"),
    ("encoder.pos_conv_embed", "position"),
    ("encoder.embed_positions", "position"),
    ("encoder", "encoder"),
    ("adapter", "head"),
)


@dataclass(frozen=True, kw_only=True)
class Family:
    """Where the roles of one architecture sit; paths are relative to the backbone, `{i}` counts layers.

    `library` is where its classes are defined, and `stem` the start of their names in transformers.
    `sections` maps a path prefix to its section; the first match wins, and everything outside the backbone is
    `head`. `position_convs` are grouped convolutions over the residual stream. `residual` are further
    parameters that are as wide as it in their last axis.
    """

    name: str
    library: Library
    stem: str = ""
    conv: str = "feature_extractor.conv_layers.{i}.conv"
    projection: str = "feature_projection.projection"
    layer: str = "encoder.layers.{i}"
    attention: AttentionRoles = AttentionRoles()
    ffns: tuple[FeedForwardRoles, ...] = (FeedForwardRoles(),)
    convolution: ConvolutionRoles | None = None
    position_convs: str = "encoder.pos_conv_embed.conv"
    residual: tuple[str, ...] = ("masked_spec_embed",)
    sections: tuple[tuple[str, str], ...] = SECTIONS
    # Linears outside the backbone that read the (normalised) output of the last convolution through an
    # operation without a gradient, which a graph built from autograd cannot see (the quantiser's argmax).
    last_conv_readers: tuple[str, ...] = ()
    # Class suffix -> Auto class.
    heads: tuple[tuple[str, str], ...] = HEADS
    # Class suffix -> the Linear of the head that reads the residual stream.
    head_readers: tuple[tuple[str, str], ...] = HEAD_READERS
    squeeze: str = ""  # config field: the encoder runs on one of so many frames
    filterbank: int = 0  # frames of 10 ms that one input frame stacks; 0: the input is a waveform
    upsampling: str = (
        ""  # the Linear behind a squeezed encoder: from the residual to as many frames of output
    )
    makes_constants: bool = False  # the forward makes tensors on the default device, whatever its input's
    layers_return_bias: bool = False  # (output, position bias), not the output alone

    @property
    def layer_list(self) -> str:
        """Path of the list of layers."""
        return self.layer.partition(".{i}")[0]

    def layers(self, backbone: nn.Module) -> nn.ModuleList:
        """Return the encoder's layers."""
        return backbone.get_submodule(self.layer_list)  # type: ignore[return-value]

    def config_class(self) -> type[PreTrainedConfig]:
        """Return the config class in transformers."""
        found: type[PreTrainedConfig] = getattr(transformers, f"{self.stem}Config")
        return found

    def bare_class(self) -> type[PreTrainedModel]:
        """Return the class of the model without a head."""
        found: type[PreTrainedModel] = getattr(transformers, f"{self.stem}{self.heads[0][0]}")
        return found

    def model_class(self, suffix: str) -> type[PreTrainedModel] | None:
        """Return a model class in transformers, such as that of `ForCTC`; None where it has none."""
        found: type[PreTrainedModel] | None = getattr(transformers, f"{self.stem}{suffix}", None)
        return found
