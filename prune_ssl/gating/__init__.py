"""Gating: learned masks over units, attached to consumers' weights, under a Lagrangian budget."""

from prune_ssl.gating.attach import attach_gates, reattach
from prune_ssl.gating.config import PruningConfig
from prune_ssl.gating.gates import Gates
from prune_ssl.gating.plan import Plan

__all__ = ["Gates", "Plan", "PruningConfig", "attach_gates", "reattach"]
