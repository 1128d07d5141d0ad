"""The family table: what no graph can know about a speech SSL architecture, as data."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn
from torchaudio.models.wav2vec2.wavlm_attention import WavLMSelfAttention

from prune_ssl.errors import ModelError
from prune_ssl.models.wavlm import PositionBias

PRUNED_PREFIX = "pruned_"
Coefficients = tuple[int, int, int]


def _content_only(attention: nn.Module) -> Coefficients:
    """QK^T and AV: 2 T^2; AV alone where the map is that of the layer below."""
    return (0, 0, 1 if getattr(attention, "source", ()) else 2)


def _conformer_products(attention: nn.Module) -> Coefficients:
    """Relative positions add a product with 2T - 1 of them, relative keys one with a T x T table."""
    positions = getattr(attention, "position_embeddings_type", None)
    return {"relative": (0, -1, 4), "relative_key": (0, 0, 3)}.get(str(positions), (0, 0, 2))


def _disentangled_products(attention: nn.Module) -> Coefficients:
    """Content-to-position and position-to-content each add T times the rows of the position table."""
    inner: nn.Module = attention.self  # type: ignore[assignment]
    kinds = len(set(inner.pos_att_type) & {"c2p", "p2c"}) if inner.relative_attention else 0  # type: ignore[arg-type]
    return (0, kinds * 2 * int(getattr(inner, "pos_ebd_size", 0)), 2)


def _keys(attention: nn.Module) -> tuple[str, ...]:
    """Scaling the keys is enough in q k^T."""
    return ("k_proj",)


def _conformer_keys(attention: nn.Module) -> tuple[str, ...]:
    """Scores are (q + u) k^T + (q + v) p^T, or q (k + distances)^T."""
    positions = getattr(attention, "position_embeddings_type", None)
    kinds = {"relative": ("linear_k", "linear_pos"), "relative_key": ("linear_q",)}
    return kinds.get(str(positions), ("linear_k",))


def _disentangled_keys(attention: nn.Module) -> tuple[str, ...]:
    """Content to content, content to position, position to content; one Linear may serve two of them."""
    own = hasattr(attention.self, "pos_key_proj")
    return ("self.key_proj", "self.pos_key_proj") if own else ("self.key_proj",)


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
    factors: Callable[[nn.Module], tuple[str, ...]] = _keys
    size_scales: tuple[str, ...] = ()
    style: Literal["plain", "position bias", "post-norm"] = "plain"
    positions: bool = False
    products: Callable[[nn.Module], Coefficients] = _content_only

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

    `stem` is the start of its class names in transformers ("" for torchaudio); `sections` maps a path prefix
    to its section, the first match wins; everything outside the backbone is `head`. `position_convs` are
    grouped convolutions over the residual stream, `residual` further parameters that are as wide as it in
    their last axis.
    """

    name: str
    stem: str
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
    # Class suffix -> the Linear of the head that reads the residual stream.
    head_readers: tuple[tuple[str, str], ...] = HEAD_READERS
    squeeze: str = ""  # config field: the encoder runs on one of so many frames
    filterbank: int = 0  # frames of 10 ms that one input frame stacks; 0: the input is a waveform
    upsampling: str = (
        ""  # the Linear behind a squeezed encoder: from the residual to as many frames of output
    )
    makes_constants: bool = False  # the forward makes tensors on the default device, whatever its input's
    layers_return_bias: bool = False  # (output, position bias), not the output alone


_CONFORMER_ATTENTION = AttentionRoles(
    path="self_attn",
    queries="linear_q",
    keys="linear_k",
    values="linear_v",
    output="linear_out",
    head_size="head_size",
    per_head=(("linear_pos.weight", 0), ("pos_bias_u", 0), ("pos_bias_v", 0)),
    per_dimension=(
        ("linear_pos.weight", 0),
        ("pos_bias_u", 1),
        ("pos_bias_v", 1),
        ("distance_embedding.weight", 1),
    ),
    positions=True,
    products=_conformer_products,
    factors=_conformer_keys,
)
_CONFORMER_FFNS = tuple(
    FeedForwardRoles(
        group=name,
        block=f"feed_forward{name[-1]}",
        first=f"{name}.intermediate_dense",
        second=f"{name}.output_dense",
        field=f"{name}_intermediate_size",
    )
    for name in ("ffn1", "ffn2")
)
_DISENTANGLED = tuple(
    (f"self.{name}.{leaf}", 0) for name in ("pos_key_proj", "pos_query_proj") for leaf in ("weight", "bias")
)
_TORCHAUDIO = Family(
    name="torchaudio",
    stem="",
    projection="encoder.feature_projection.projection",
    layer="encoder.transformer.layers.{i}",
    attention=AttentionRoles(size_scales=("q_proj",)),
    position_convs="encoder.transformer.pos_conv_embed.conv",
    residual=(),
    sections=(
        ("feature_extractor", "frontend"),
        ("encoder.feature_projection", "projection"),
        ("encoder.transformer.pos_conv_embed", "position"),
        ("encoder", "encoder"),
    ),
    head_readers=(("", "aux"),),
    layers_return_bias=True,
)
FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="wav2vec2",
            stem="Wav2Vec2",
            head_readers=(*HEAD_READERS, ("ForPreTraining", "project_hid")),
            last_conv_readers=("quantizer.weight_proj",),
        ),
        Family(name="hubert", stem="Hubert"),
        Family(
            name="wavlm",
            stem="WavLM",
            attention=AttentionRoles(
                per_head=(("gru_rel_pos_const", 1),),
                by_slices="gru_rel_pos_linear",
                style="position bias",
                positions=True,
            ),
            layers_return_bias=True,
        ),
        Family(
            name="data2vec-audio",
            stem="Data2VecAudio",
            position_convs="encoder.pos_conv_embed.layers.{i}.conv",
        ),
        Family(name="unispeech", stem="UniSpeech", last_conv_readers=("quantizer.weight_proj",)),
        Family(name="unispeech-sat", stem="UniSpeechSat"),
        Family(
            name="sew",
            stem="SEW",
            projection="feature_projection",
            squeeze="squeeze_factor",
            upsampling="encoder.upsample.projection",
        ),
        Family(
            name="sew-d",
            stem="SEWD",
            projection="feature_projection",
            squeeze="squeeze_factor",
            upsampling="encoder.upsample.projection",
            residual=("masked_spec_embed", "encoder.encoder.rel_embeddings.weight"),
            makes_constants=True,
            layer="encoder.encoder.layer.{i}",
            attention=AttentionRoles(
                queries="self.query_proj",
                keys="self.key_proj",
                values="self.value_proj",
                output="output.dense",
                head_size="self.attention_head_size",
                head_count="self.num_attention_heads",
                per_head=_DISENTANGLED,
                per_dimension=_DISENTANGLED,
                tables=("self.pos_key_proj", "self.pos_query_proj"),
                style="post-norm",
                positions=True,
                products=_disentangled_products,
                factors=_disentangled_keys,
                size_scales=("self.query_proj", "self.pos_query_proj"),
            ),
            ffns=(FeedForwardRoles(first="intermediate.dense", second="output.dense"),),
        ),
        Family(
            name="wav2vec2-conformer",
            stem="Wav2Vec2Conformer",
            attention=_CONFORMER_ATTENTION,
            ffns=_CONFORMER_FFNS,
            convolution=ConvolutionRoles(),
            last_conv_readers=("quantizer.weight_proj",),
        ),
        Family(
            name="wav2vec2-bert",
            stem="Wav2Vec2Bert",
            conv="",
            attention=_CONFORMER_ATTENTION,
            ffns=_CONFORMER_FFNS,
            convolution=ConvolutionRoles(norm="depthwise_layer_norm"),
            position_convs="",
            filterbank=2,
        ),
        _TORCHAUDIO,
        replace(
            _TORCHAUDIO,
            name="torchaudio-wavlm",
            attention=AttentionRoles(
                fused="attention",
                values="attention",
                output="attention.out_proj",
                per_head=(("gru_rel_pos_const", 1),),
                by_slices="gru_rel_pos_linear",
                style="position bias",
                positions=True,
            ),
        ),
    )
}


def family_of(model: nn.Module) -> Family:
    """Return the family of `model`.

    Raises:
        ModelError: the model has no config with a known `model_type`.
    """
    if type(model).__module__.startswith("torchaudio.models.wav2vec2"):
        fused = any(isinstance(module, WavLMSelfAttention | PositionBias) for module in model.modules())
        return FAMILIES["torchaudio-wavlm" if fused else "torchaudio"]
    config = getattr(model, "config", None)
    model_type = getattr(config, "model_type", None)
    if isinstance(model_type, str):
        family = FAMILIES.get(model_type.removeprefix(PRUNED_PREFIX))
        if family is not None:
            return family
    found = f"model_type {model_type!r}" if model_type else "no Hugging Face config"
    raise ModelError(
        f"{type(model).__name__} is not a speech SSL model that can be traced: found {found}, wanted one of "
        f"{', '.join(FAMILIES)}. Give a model of these families (bare or with a head)."
    )


def head_reader_of(model: nn.Module, family: Family) -> str | None:
    """Return the path of the head's Linear that reads the encoder's output, None where none is known."""
    suffix = re.sub(r"^.*?(For\w+|)$", r"\1", type(model).__name__)
    return dict(family.head_readers).get(suffix)


def backbone_of(model: nn.Module) -> tuple[str, nn.Module]:
    """Return the path and module of the SSL backbone inside `model` ("" when the model is bare).

    Raises:
        ModelError: the model's declared backbone attribute is missing.
    """
    prefix = getattr(model, "base_model_prefix", "")
    backbone = getattr(model, prefix, None) if prefix else None
    if isinstance(backbone, nn.Module):
        return prefix, backbone
    if hasattr(model, "wav2vec2"):  # torchaudio's HuBERTPretrainModel
        return "wav2vec2", model.wav2vec2  # type: ignore[return-value]
    if hasattr(model, "encoder") and (
        hasattr(model, "feature_projection") or hasattr(model, "feature_extractor")
    ):
        return "", model
    raise ModelError(
        f"{type(model).__name__} has neither a backbone attribute {prefix!r} nor feature_projection "
        "and encoder of its own, so its parts cannot be found. Give a speech SSL model of transformers, "
        "bare or with a head."
    )
