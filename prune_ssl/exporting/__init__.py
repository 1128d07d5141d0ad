"""Export: write a dense or pruned model for other runtimes, after comparing its output with PyTorch's."""

from typing import TYPE_CHECKING

from prune_ssl.lazy_names import lazily

if TYPE_CHECKING:
    from prune_ssl.exporting.exports import Exported, write_export
    from prune_ssl.exporting.in_pytorch import Quantized, quantize_
    from prune_ssl.exporting.judged import JudgedFile
    from prune_ssl.exporting.targets import TARGETS, Target

__getattr__, __dir__ = lazily(
    __name__,
    {
        "prune_ssl.exporting.exports": "Exported write_export",
        "prune_ssl.exporting.in_pytorch": "Quantized quantize_",
        "prune_ssl.exporting.judged": "JudgedFile",
        "prune_ssl.exporting.targets": "TARGETS Target",
    },
)

__all__ = ["TARGETS", "Exported", "JudgedFile", "Quantized", "Target", "quantize_", "write_export"]
