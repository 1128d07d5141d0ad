"""Parts of students that stock models lack: attention with the map of the layer below, no projection."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import nn

from prune_ssl.errors import ModelError
from prune_ssl.models.family import Family


class SharedMapAttention:
    """Mixin over a stock attention: its map is given on to the layer above, or taken from the one below.

    ARM's reuse (methods 6.2), done cleanly: the map is a softmax's output once (the published code applies
    softmax to it again, and mixes heads with batch items: pitfall 24). A layer that takes its map has no
    queries and keys, and no attention dropout of its own.
    """

    shares_map = True
    source: "tuple[SharedMapAttention, ...]"  # in a tuple, so that it is not a submodule
    gives: bool
    given: torch.Tensor | None
    all_give_maps: bool
    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear
    out_proj: nn.Linear
    head_dim: int
    scaling: float
    dropout: float
    training: bool
    config: Any

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Map (B, T, D) to (B, T, D) and the attention map (B, H, T, T), where every layer gives its own."""
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
        recorded = self.all_give_maps or self.config._attn_implementation == "eager"
        return self.out_proj(context), weights if recorded else None

    def hand_over(self) -> torch.Tensor:
        """Return the map of this forward pass, once: what is kept would outlive the step."""
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
    """Apply what transformers gives as mask: (B, 1, T, T), bool (True: attend) or added to the scores."""
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
        ModelError: the first attention is named, or one of another kind than four plain Linears.
    """
    wrong = [index for index in reusing if not 0 < index < len(attentions)]
    if wrong:
        raise ModelError(
            f"attention layer {wrong[0]} cannot reuse a map: wanted indices 1 to {len(attentions) - 1}, as "
            "the first layer has none below it."
        )
    for index in sorted({each for layer in reusing for each in (layer - 1, layer)}):
        block: Any = attentions[index]
        if block is None:
            raise ModelError(f"layer {index} is gone: neither it nor its neighbour above can share a map.")
        children = dict(block.named_children())
        if not {"q_proj", "k_proj", "v_proj", "out_proj"} <= children.keys() or "rel_attn_embed" in children:
            raise ModelError(
                f"{type(block).__name__} is not an attention of four Linears; maps can be reused in wav2vec "
                "2.0, HuBERT and their like, where no attention was emptied."
            )
        stock: Any = type(block)
        block.__class__ = _sharing_class(stock)
        block.gives, block.given, block.source = index + 1 in reusing, None, ()
        if index in reusing:
            below: Any = attentions[index - 1]
            if below.num_heads != block.num_heads:
                raise ModelError(
                    f"attention layer {index} has {block.num_heads} heads and the one below "
                    f"{below.num_heads}; a map can be reused only where they are as many."
                )
            block.source = (below,)
            del block.q_proj, block.k_proj
    # A tuple of maps says nothing of the layers in between: it has one of each layer, or none.
    sharing: list[Any] = [each for each in attentions if isinstance(each, SharedMapAttention)]
    for attention in sharing:
        attention.all_give_maps = len(sharing) == len(attentions)


class BareFeatureProjection(nn.Module):
    """A feature projection without its Linear: the last convolution is as wide as the encoder (STaR, ARM)."""

    def __init__(self, stock: nn.Module, pair: bool) -> None:
        super().__init__()
        children = dict(stock.named_children())
        if "layer_norm" in children:
            self.layer_norm = children["layer_norm"]
        self.dropout = children["dropout"]
        self.pair = pair  # wav2vec 2.0's returns the normalised features too

    def forward(self, hidden_states: torch.Tensor) -> Any:
        """Map (B, T, D) to (B, T, D)."""
        norm = self._modules.get("layer_norm")
        normed = hidden_states if norm is None else norm(hidden_states)
        return (self.dropout(normed), normed) if self.pair else self.dropout(normed)


def leave_out_projection_(backbone: nn.Module, family: Family) -> None:
    """Take the Linear out of the backbone's feature projection.

    Raises:
        ModelError: the last convolution's width is not the encoder's.
    """
    path, _, leaf = family.projection.rpartition(".")
    stock = backbone.get_submodule(path or family.projection)
    linear: Any = getattr(stock, leaf, None) if path else None
    more = {name for name, _ in stock.named_children()} - {"layer_norm", "dropout", leaf}
    if linear is None or more:
        raise ModelError(f"{type(stock).__name__} has no projection of its own that could be left out.")
    if linear.in_features != linear.out_features:
        raise ModelError(
            f"the feature projection maps {linear.in_features} to {linear.out_features} channels and cannot "
            "be left out; make the last convolution as wide as the encoder."
        )
    backbone.set_submodule(path, BareFeatureProjection(stock, family.projection_pair))
