"""Resizing: a keep or a plan becomes a physically smaller module."""

from prune_ssl.resizing.resize import resize

__all__ = ["resize"]
