"""A name or a folder becomes a model: loading, pruned classes."""

from prune_ssl.models.loading import load_model
from prune_ssl.models.pruned import is_pruned

__all__ = ["is_pruned", "load_model"]
