"""Resizing: a keep or a plan becomes a physically smaller module."""

from prune_ssl.resizing.cutting import resize
from prune_ssl.resizing.law import broken_groups
from prune_ssl.resizing.stock import to_stock
from prune_ssl.tracing.strangers import judge_with

judge_with(broken_groups)

__all__ = ["resize", "to_stock"]
