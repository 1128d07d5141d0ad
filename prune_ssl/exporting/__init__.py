"""Export: write a dense or pruned model for other runtimes, after comparing its output with PyTorch's."""

from typing import TYPE_CHECKING

from prune_ssl.lazy_names import lazily

if TYPE_CHECKING:
    from prune_ssl.exporting.exports import Exported, export
    from prune_ssl.exporting.targets import TARGETS, Target

__getattr__, __dir__ = lazily(
    __name__,
    {
        "prune_ssl.exporting.exports": "Exported export",
        "prune_ssl.exporting.targets": "TARGETS Target",
    },
)

__all__ = ["TARGETS", "Exported", "Target", "export"]
