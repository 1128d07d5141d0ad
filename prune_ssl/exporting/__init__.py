"""Export: write a dense or pruned model for other runtimes, after comparing its output with PyTorch's."""

from prune_ssl.exporting.exports import Exported, write_export
from prune_ssl.exporting.in_pytorch import Quantized, quantize_
from prune_ssl.exporting.judged import JudgedFile
from prune_ssl.exporting.targets import TARGETS, Target

__all__ = ["TARGETS", "Exported", "JudgedFile", "Quantized", "Target", "quantize_", "write_export"]
