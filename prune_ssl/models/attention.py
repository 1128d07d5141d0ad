"""Owns the base of attentions that replace stock ones which cannot hold any subset of their heads."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedConfig

from prune_ssl.models.empty import BiasOnly


@dataclass(frozen=True)
class ResidualLeft:
    """Dimensions of the original residual stream that are left, and their scales where they are read."""

    dims: list[int]
    scales: list[float] | None


@dataclass(frozen=True)
class HeldHeads:
    """Heads that an attention holds: their original numbers, out of how many, and their dimensions."""

    heads: Sequence[int]
    original: int
    size: int
    residual: ResidualLeft | None = None


class OpenAttention(nn.Module, ABC):
    """An attention that holds any subset of the original heads; it reads the original residual by slices."""

    heads: list[int]
    original_heads: int
    num_heads: int
    head_dim: int
    residual: ResidualLeft | None

    @classmethod
    @abstractmethod
    def opened(cls, block: nn.Module, config: PreTrainedConfig | None, held: HeldHeads) -> "OpenAttention":
        """Return an attention of these heads with the submodules of a stock (or opened) one."""

    @classmethod
    @abstractmethod
    def emptied(cls, block: nn.Module, left: BiasOnly) -> nn.Module:
        """Return what stands in the place of an attention whose heads are all gone."""
