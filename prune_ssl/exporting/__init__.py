"""Export: a dense or pruned model becomes files for other runtimes, compared with PyTorch first."""

from prune_ssl.exporting.exports import Exported, export
from prune_ssl.exporting.targets import TARGETS, Target

__all__ = ["TARGETS", "Exported", "Target", "export"]
