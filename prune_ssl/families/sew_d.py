"""SEW-D: SEW with DeBERTa's layers, whose attention has disentangled relative positions."""

from collections.abc import Collection
from dataclasses import replace

from torch import nn

from prune_ssl.families.sew import SEW
from prune_ssl.families.wav2vec2 import classes
from prune_ssl.models.family import AttentionRoles, Coefficients, FeedForwardRoles


def _disentangled_products(attention: nn.Module) -> Coefficients:
    """Content-to-position and position-to-content each add T times the rows of the position table."""
    inner = attention.get_submodule("self")
    told: Collection[str] = getattr(inner, "pos_att_type", ())
    kinds = len({*told} & {"c2p", "p2c"}) if getattr(inner, "relative_attention", False) else 0
    return (0, kinds * 2 * int(getattr(inner, "pos_ebd_size", 0)), 2)


def _disentangled_keys(attention: nn.Module) -> tuple[str, ...]:
    """Content to content, content to position, position to content; one Linear may serve two of them."""
    own = hasattr(attention.get_submodule("self"), "pos_key_proj")
    return ("self.key_proj", "self.pos_key_proj") if own else ("self.key_proj",)


_DISENTANGLED = tuple(
    (f"self.{name}.{leaf}", 0) for name in ("pos_key_proj", "pos_query_proj") for leaf in ("weight", "bias")
)
SEW_D = replace(
    SEW,
    name="sew-d",
    classes=classes("SEWD"),
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
        post_norm="output.LayerNorm",
        positions=True,
        products=_disentangled_products,
        factors=_disentangled_keys,
        size_scales=("self.query_proj", "self.pos_query_proj"),
    ),
    ffns=(FeedForwardRoles(first="intermediate.dense", second="output.dense"),),
)
