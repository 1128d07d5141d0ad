"""WavLM's gated relative-position attention for any subset of its heads."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig

from prune_ssl.errors import ModelError
from prune_ssl.models.attention import HeldHeads, OpenAttention
from prune_ssl.models.empty import BiasOnly, NoMap
from prune_ssl.models.transformers_internals import attention_of

MOST_KEPT_BYTES = 64 << 20
"""A bias of more bytes is made anew at each call: 12 heads and 23 seconds, or 16 heads and 20 seconds."""


class PositionBias(nn.Module):
    """The shared relative position bias: made once in the first layer, for all original heads."""

    num_buckets: int
    max_distance: int
    rel_attn_embed: nn.Embedding  # in the first layer's attention only
    keep_bias: bool = False
    """Whether the bias of the last length is kept for the next call, while the table does not change."""
    kept_bias: torch.Tensor | None = None

    def compute_bias(self, length: int) -> torch.Tensor:
        """Return the bias (original heads, T, T) from the bucketed table (buckets, original heads)."""
        if not self.keep_bias:
            return self._made_bias(length)
        kept, weight = self.kept_bias, self.rel_attn_embed.weight
        known = kept is not None and kept.shape[-1] == length
        if kept is None or not known or (kept.device, kept.dtype) != (weight.device, weight.dtype):
            kept = self._made_bias(length).detach().contiguous()
            self.kept_bias = kept if kept.nbytes <= MOST_KEPT_BYTES else None
        return kept

    def _made_bias(self, length: int) -> torch.Tensor:
        table = self.rel_attn_embed
        position = torch.arange(length, device=table.weight.device)
        bias: torch.Tensor = table(self._buckets(position[None, :] - position[:, None]))
        return bias.permute(2, 0, 1)

    def take_table(self, stock: Any) -> None:
        """Take over the shared table from an attention that has it."""
        if getattr(stock, "rel_attn_embed", None) is not None:
            self.rel_attn_embed = stock.rel_attn_embed

    def _buckets(self, distance: torch.Tensor) -> torch.Tensor:
        """Near distances have a bucket each, far ones share them logarithmically; one half per direction."""
        half = self.num_buckets // 2
        exact = half // 2
        far = torch.log(distance.abs().clamp_min(1).float() / exact) / math.log(self.max_distance / exact)
        far_bucket = (exact + (far * (half - exact)).clamp(max=half).to(torch.long)).clamp(max=half - 1)
        bucket = torch.where(distance.abs() < exact, distance.abs(), far_bucket)
        return bucket + (distance > 0).to(torch.long) * half


class PrunedWavLMAttention(PositionBias, OpenAttention):
    """WavLM's attention, computing only its kept heads; equal to the stock module when all are kept.

    The position bias travels between layers for all original heads; a layer takes its own, and gates it by
    what it reads in the original slices of the residual stream, where zeros stand for dimensions that are
    gone. Unlike the stock module it can use a fused kernel, and gives every head's own map when it does not,
    or when `output_attentions` is asked for.
    """

    def __init__(self, stock: Any, config: PreTrainedConfig | None, held: HeldHeads) -> None:
        """Take over the submodules of a stock (or pruned) attention."""
        super().__init__()
        self.config = config
        self._take(stock)
        self.heads = list(held.heads)
        self.num_heads, self.original_heads, self.head_dim = len(self.heads), held.original, held.size
        self.dropout: float = stock.dropout
        self.num_buckets, self.max_distance = stock.num_buckets, stock.max_distance
        self.gru_rel_pos_linear: nn.Linear = stock.gru_rel_pos_linear
        self.scaling = self.gru_rel_pos_linear.in_features**-0.5  # heads may have lost dimensions
        self.gru_rel_pos_const: nn.Parameter = stock.gru_rel_pos_const
        self.take_table(stock)
        self.residual = held.residual

    @classmethod
    def opened(
        cls, block: nn.Module, config: PreTrainedConfig | None, held: HeldHeads
    ) -> "PrunedWavLMAttention":
        """Return an attention of these heads with the submodules of a stock (or opened) one."""
        return cls(block, config, held)

    @classmethod
    def emptied(cls, block: nn.Module, left: BiasOnly) -> nn.Module:
        """Return what stands in the place of an attention whose heads are all gone."""
        return BiasWavLMAttention(block, left)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_bias: torch.Tensor | None = None,
        index: int = 0,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """Map (B, T, D) to ((B, T, D), maps (B, H, T, T) or None, bias (original heads, T, T)).

        `attention_mask` is (B, T), 1 for frames that may be attended to.
        """
        if position_bias is None:
            position_bias = self.compute_bias(hidden_states.shape[1])
        bias = self._gate(hidden_states) * self._own(position_bias, 0)
        if attention_mask is not None:
            padding = attention_mask.ne(1)[:, None, None, :]
            bias = bias.masked_fill(padding, torch.finfo(bias.dtype).min)
        asked = bool(kwargs.get("output_attentions"))
        mixed, maps = self._attend(self._project(hidden_states), bias, asked)
        return self.out_proj(mixed), maps, position_bias

    def _take(self, stock: Any) -> None:
        """Take over the projections."""
        self.q_proj, self.k_proj, self.v_proj = stock.q_proj, stock.k_proj, stock.v_proj
        self.out_proj = stock.out_proj

    def _project(self, hidden_states: torch.Tensor) -> Sequence[torch.Tensor]:
        """Return queries, keys and values, each (B, T, H * d)."""
        return self.q_proj(hidden_states), self.k_proj(hidden_states), self.v_proj(hidden_states)

    def _attend(
        self, projected: Sequence[torch.Tensor], bias: torch.Tensor, with_maps: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the values mixed, (B, T, H * d), and the maps (B, H, T, T) where they are made."""
        batch, length, _ = projected[0].shape
        queries, keys, values = (
            each.view(batch, length, self.num_heads, self.head_dim).transpose(1, 2) for each in projected
        )
        dropout = self.dropout if self.training else 0.0
        bias = bias.to(queries.dtype)
        maps = None
        if with_maps or attention_of(self.config) == "eager":
            scores = torch.matmul(queries, keys.transpose(2, 3)) * self.scaling + bias
            maps = nn.functional.dropout(scores.softmax(-1), dropout, self.training)
            mixed = torch.matmul(maps, values)
        else:
            mixed = nn.functional.scaled_dot_product_attention(
                queries, keys, values, bias, dropout, scale=self.scaling
            )
        return mixed.transpose(1, 2).reshape(batch, length, -1), maps

    def _own(self, values: torch.Tensor, dim: int) -> torch.Tensor:
        """Return the entries of the kept heads along `dim`."""
        if self.num_heads == self.original_heads:
            return values
        return values.index_select(dim, torch.tensor(self.heads, device=values.device))

    def _slices(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Return the original slices of the kept heads, (B, T, H, S), from (B, T, D)."""
        size = self.gru_rel_pos_linear.in_features
        if self.residual is None:
            return self._own(hidden_states.view(*hidden_states.shape[:-1], -1, size), 2)
        dims, scales = self.residual.dims, self.residual.scales
        place = np.full(self.original_heads * size, len(dims))
        place[dims] = np.arange(len(dims))
        places = torch.from_numpy(place.reshape(-1, size)[self.heads].ravel()).to(hidden_states.device)
        if scales is not None:
            hidden_states = hidden_states * hidden_states.new_tensor(scales)
        with_zero = nn.functional.pad(hidden_states, (0, 1))
        return with_zero.index_select(-1, places).view(*hidden_states.shape[:-1], -1, size)

    def _gate(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Return the gate of the position bias, (B, H, T, 1), from (B, T, D)."""
        read = self.gru_rel_pos_linear(self._slices(hidden_states).transpose(1, 2))  # (B, H, T, 8)
        first, second = torch.sigmoid(read.view(*read.shape[:-1], 2, 4).sum(-1)).chunk(2, dim=-1)
        gate: torch.Tensor = first * (second * self.gru_rel_pos_const - 1.0) + 2.0
        return gate


class FusedWavLMAttention(PrunedWavLMAttention):
    """The same for torchaudio's WavLM, whose queries, keys and values are one parameter."""

    def forward(  # type: ignore[override]
        self,
        query: torch.Tensor,
        key_padding_mask: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_bias: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Map (B, T, D) to ((B, T, D), bias (original heads, T, T)); no masks, as the stock one."""
        if key_padding_mask is not None or attention_mask is not None:
            raise ModelError("torchaudio's WavLM takes no lengths: give it clips of one length, unpadded.")
        if position_bias is None:
            position_bias = self.compute_bias(query.shape[1])
        bias = self._gate(query) * self._own(position_bias, 0)
        mixed, _ = self._attend(self._project(query), bias)
        return self.attention.out_proj(mixed), position_bias

    @classmethod
    def emptied(cls, block: nn.Module, left: BiasOnly) -> nn.Module:
        """Return what stands in the place of an attention whose heads are all gone."""
        return BiasFusedWavLMAttention(block, left)

    def _take(self, stock: Any) -> None:
        self.attention: nn.MultiheadAttention = stock.attention

    def _project(self, hidden_states: torch.Tensor) -> Sequence[torch.Tensor]:
        weight, bias = self.attention.in_proj_weight, self.attention.in_proj_bias
        return nn.functional.linear(hidden_states, weight, bias).chunk(3, -1)


class BiasWavLMAttention(PositionBias):
    """WavLM's attention with no head left; the first layer's still makes the shared position bias."""

    def __init__(self, stock: Any, what_is_left: BiasOnly) -> None:
        super().__init__()
        self.num_heads = 0
        self.num_buckets, self.max_distance = stock.num_buckets, stock.max_distance
        self.no_map = NoMap(None, always=True)
        self._keep(what_is_left)
        self.take_table(stock)

    def _keep(self, what_is_left: BiasOnly) -> None:
        self.out_proj = what_is_left

    def forward(
        self,
        hidden_states: torch.Tensor,
        *args: object,
        position_bias: torch.Tensor | None = None,
        **kwargs: object,
    ) -> tuple[torch.Tensor, None, torch.Tensor | None]:
        """Map (B, T, D) to (bias broadcast to (B, T, D), no map, position bias)."""
        if position_bias is None:
            position_bias = self.compute_bias(hidden_states.shape[1])
        self.no_map()
        return self.out_proj(hidden_states), None, position_bias


class BiasFusedWavLMAttention(BiasWavLMAttention):
    """The same for torchaudio's WavLM."""

    def forward(  # type: ignore[override]
        self, query: torch.Tensor, position_bias: torch.Tensor | None = None, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Map (B, T, D) to (bias broadcast to (B, T, D), position bias)."""
        if position_bias is None:
            position_bias = self.compute_bias(query.shape[1])
        return self.attention["out_proj"](query), position_bias

    def _keep(self, what_is_left: BiasOnly) -> None:
        self.attention = nn.ModuleDict({"out_proj": what_is_left})
