"""Export: write a dense or pruned model for other runtimes, after comparing its output with PyTorch's."""

from prune_ssl.exporting.exports import Exported, export
from prune_ssl.exporting.targets import TARGETS, Target

__all__ = ["TARGETS", "Exported", "Target", "export"]
