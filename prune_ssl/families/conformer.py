"""wav2vec 2.0 with conformer layers: two FFNs, a convolution module, relative or rotary positions."""

from dataclasses import replace

from torch import nn

from prune_ssl.families.wav2vec2 import HEAD_READERS, WAV2VEC2, classes
from prune_ssl.models.family import AttentionRoles, Coefficients, ConvolutionRoles, FeedForwardRoles


def _conformer_products(attention: nn.Module) -> Coefficients:
    """Relative positions add a product with 2T - 1 of them, relative keys one with a T x T table."""
    positions = getattr(attention, "position_embeddings_type", None)
    return {"relative": (0, -1, 4), "relative_key": (0, 0, 3)}.get(str(positions), (0, 0, 2))


def _conformer_keys(attention: nn.Module) -> tuple[str, ...]:
    """Scores are (q + u) k^T + (q + v) p^T, or q (k + distances)^T."""
    positions = getattr(attention, "position_embeddings_type", None)
    kinds = {"relative": ("linear_k", "linear_pos"), "relative_key": ("linear_q",)}
    return kinds.get(str(positions), ("linear_k",))


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
    kind_field="position_embeddings_type",
    reads_positions="linear_pos",
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
CONFORMER = replace(
    WAV2VEC2,
    name="wav2vec2-conformer",
    classes=classes("Wav2Vec2Conformer", "ForAudioFrameClassification", "ForPreTraining"),
    attention=_CONFORMER_ATTENTION,
    ffns=_CONFORMER_FFNS,
    convolution=ConvolutionRoles(),
    bottlenecks=(),
    head_readers=HEAD_READERS,
    position_table="encoder.embed_positions",
)
