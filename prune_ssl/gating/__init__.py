"""Gating: learned masks over units, attached to consumers' weights, under a Lagrangian budget."""

from prune_ssl.gating.attachment import Attachment, attach
from prune_ssl.gating.config import PruningConfig
from prune_ssl.gating.distribution import UnitGates
from prune_ssl.gating.gates import Gates, attach_gates
from prune_ssl.gating.lagrangian import Lagrangian
from prune_ssl.gating.plan import Plan
from prune_ssl.gating.projection import doubts, project, require_learned

__all__ = [
    "Attachment",
    "Gates",
    "Lagrangian",
    "Plan",
    "PruningConfig",
    "UnitGates",
    "attach",
    "attach_gates",
    "doubts",
    "project",
    "require_learned",
]
