"""A name or a module becomes a model with its family: loading, family table, pruned classes."""

from prune_ssl.models.family import Family
from prune_ssl.models.loading import load_model
from prune_ssl.models.pruned import is_pruned
from prune_ssl.models.registering import register_family
from prune_ssl.models.registry import FAMILIES, backbone_of, family_of

__all__ = ["FAMILIES", "Family", "backbone_of", "family_of", "is_pruned", "load_model", "register_family"]
