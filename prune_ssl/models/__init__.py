"""A name or a module becomes a model with its family: loading, family table, pruned classes."""

from prune_ssl.models.families import FAMILIES, Family, backbone_of, family_of
from prune_ssl.models.loading import load_model
from prune_ssl.models.pruned import BiasAttention, BiasFeedForward, is_pruned, shrink_layer

__all__ = [
    "FAMILIES",
    "BiasAttention",
    "BiasFeedForward",
    "Family",
    "backbone_of",
    "family_of",
    "is_pruned",
    "load_model",
    "shrink_layer",
]
