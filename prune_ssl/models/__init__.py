"""A name or a module becomes a model with its family: loading, family table, pruned classes."""

from prune_ssl.models.families import FAMILIES, Family, backbone_of, family_of
from prune_ssl.models.loading import load_model
from prune_ssl.models.pruned import is_pruned

__all__ = ["FAMILIES", "Family", "backbone_of", "family_of", "is_pruned", "load_model"]
