"""Families: one file for each architecture, with everything that the package knows of it."""

from prune_ssl.families.family import AttentionRoles, ConvolutionRoles, Family, FeedForwardRoles
from prune_ssl.families.registry import (
    FAMILIES,
    PRUNED_PREFIX,
    backbone_of,
    families_of_transformers,
    family_of,
    head_reader_of,
)

__all__ = [
    "FAMILIES",
    "PRUNED_PREFIX",
    "AttentionRoles",
    "ConvolutionRoles",
    "Family",
    "FeedForwardRoles",
    "backbone_of",
    "families_of_transformers",
    "family_of",
    "head_reader_of",
]
