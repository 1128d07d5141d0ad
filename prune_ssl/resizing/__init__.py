"""Resizing: a keep or a plan becomes a physically smaller module."""

from prune_ssl.resizing.cutting import resize
from prune_ssl.resizing.stock import to_stock

__all__ = ["resize", "to_stock"]
