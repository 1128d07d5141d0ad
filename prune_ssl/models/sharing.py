"""Parts of students that stock models lack: attention with the map of the layer below, and no projection."""

from collections.abc import Sequence
from functools import cache
from typing import cast

import torch
from torch import nn
from transformers import PreTrainedConfig

from prune_ssl.errors import ModelError
from prune_ssl.models.family import Family
from prune_ssl.models.layers import submodule_or_none
from prune_ssl.models.transformers_internals import attention_of


class SharedMapAttention(nn.Module):
    """Stands before a stock attention: it gives its map to the layer above, or takes that of the layer below.

    This is the reuse of ARM (docs/methods.md 6.2). A map is the output of one softmax; the published code
    applies softmax to it again, and mixes heads with the items of a batch (pitfall 24). A layer that takes a
    map has no queries and keys, and no attention dropout of its own.
    """

    source: "tuple[SharedMapAttention, ...]"
    """The attention whose map this one takes, or none; the tuple keeps it from becoming a submodule."""
    gives: bool
    """Whether the layer above takes the map."""
    given: torch.Tensor | None
    """The map of this forward pass, until the layer above takes it."""
    all_give_maps: bool
    """Whether every layer of the model can show its map."""
    num_heads: int
    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear
    out_proj: nn.Linear
    head_dim: int
    scaling: float
    dropout: float
    config: PreTrainedConfig

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Map (B, T, D) to (B, T, D), and the attention map (B, H, T, T) if it is to be recorded."""
        values = self._heads(self.v_proj(hidden_states))
        if self.source:
            weights = attention = self.source[0].hand_over()
        else:
            queries, keys = self._heads(self.q_proj(hidden_states)), self._heads(self.k_proj(hidden_states))
            attention = _masked(queries @ keys.mT * self.scaling, attention_mask).softmax(-1)
            weights = nn.functional.dropout(attention, self.dropout, self.training)
        if self.gives:
            self.given = attention
        context = (weights @ values).transpose(1, 2).flatten(2)
        recorded = self.all_give_maps or attention_of(self.config) == "eager"
        return self.out_proj(context), weights if recorded else None

    def hand_over(self) -> torch.Tensor:
        """Return the map of this forward pass and forget it; a map that stayed would outlive the step.

        Raises:
            ModelError: this layer has not run since its map was last taken.
        """
        given, self.given = self.given, None
        if given is None:
            raise ModelError(
                "a layer that reuses an attention map found none below it: the layers ran out of order. "
                "Switch gradient checkpointing and LayerDrop off for this model."
            )
        return given

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        return states.view(*states.shape[:2], -1, self.head_dim).transpose(1, 2)


def _masked(scores: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Apply a mask of transformers, (B, 1, T, T): bool (True: attend), or numbers to add to the scores."""
    if mask is None:
        return scores
    if mask.dtype == torch.bool:
        return scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores + mask


@cache
def _sharing_class(stock: type[nn.Module]) -> type[nn.Module]:
    return type(f"SharedMap{stock.__name__}", (SharedMapAttention, stock), {"__doc__": stock.__doc__})


def share_maps_(attentions: Sequence[nn.Module | None], reusing: Sequence[int]) -> None:
    """Let the attentions at `reusing` (indices from 0) take the map of the one before, in place.

    Raises:
        ModelError: the first attention is named, or an attention that is not made of four plain Linears.
    """
    wrong = [index for index in reusing if not 0 < index < len(attentions)]
    if wrong:
        raise ModelError(
            f"attention layer {wrong[0]} cannot reuse a map: wanted indices 1 to {len(attentions) - 1}, as "
            "the first layer has none below it."
        )
    sharing: dict[int, SharedMapAttention] = {}
    for index in sorted({each for layer in reusing for each in (layer - 1, layer)}):
        sharing[index] = attention = _turn(attentions[index], index)
        attention.gives, attention.given, attention.source = index + 1 in reusing, None, ()
        if index in reusing:
            below = sharing[index - 1]
            if below.num_heads != attention.num_heads:
                raise ModelError(
                    f"attention layer {index} has {attention.num_heads} heads and the one below "
                    f"{below.num_heads}; a map can be reused only where they are as many."
                )
            attention.source = (below,)
            del attention.q_proj, attention.k_proj
    # The caller gets one map of each layer or none, as a tuple of maps does not name its layers.
    all_share = sum(isinstance(each, SharedMapAttention) for each in attentions) == len(attentions)
    for each in attentions:
        if isinstance(each, SharedMapAttention):
            each.all_give_maps = all_share


def _turn(block: nn.Module | None, index: int) -> SharedMapAttention:
    """Give an attention the class that shares maps, in place."""
    if block is None:
        raise ModelError(f"layer {index} is gone: neither it nor its neighbour above can share a map.")
    children = dict(block.named_children())
    if not {"q_proj", "k_proj", "v_proj", "out_proj"} <= children.keys() or "rel_attn_embed" in children:
        raise ModelError(
            f"{type(block).__name__} is not an attention of four Linears; maps can be reused in wav2vec "
            "2.0, HuBERT and their like, where no attention was emptied."
        )
    if not isinstance(block, SharedMapAttention):
        stock: type = type(block)
        block.__class__ = _sharing_class(stock)
    return cast(SharedMapAttention, block)


class BareFeatureProjection(nn.Module):
    """A feature projection without its Linear: the last convolution is as wide as the encoder (STaR, ARM)."""

    def __init__(self, stock: nn.Module, pair: bool) -> None:
        """Take over the norm and dropout of a stock projection; `pair` returns the normed features too."""
        super().__init__()
        self.layer_norm = submodule_or_none(stock, "layer_norm")
        self.dropout = stock.get_submodule("dropout")
        self.pair = pair

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Map (B, T, D) to (B, T, D), or to a pair of them."""
        normed = hidden_states if self.layer_norm is None else self.layer_norm(hidden_states)
        return (self.dropout(normed), normed) if self.pair else self.dropout(normed)


def leave_out_projection_(backbone: nn.Module, family: Family) -> None:
    """Take the Linear out of the backbone's feature projection.

    Raises:
        ModelError: there is none, or the last convolution is not as wide as the encoder.
    """
    path, _, leaf = family.projection.rpartition(".")
    stock = backbone.get_submodule(path or family.projection)
    linear = submodule_or_none(stock, leaf) if path else None
    more = {name for name, _ in stock.named_children()} - {"layer_norm", "dropout", leaf}
    if not isinstance(linear, nn.Linear) or more:
        raise ModelError(f"{type(stock).__name__} has no projection of its own that could be left out.")
    if linear.in_features != linear.out_features:
        raise ModelError(
            f"the feature projection maps {linear.in_features} to {linear.out_features} channels and cannot "
            "be left out; make the last convolution as wide as the encoder."
        )
    backbone.set_submodule(path, BareFeatureProjection(stock, family.projection_pair))
