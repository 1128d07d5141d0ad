"""Run models where they ship: the table of runtimes, their files, and one model opened in each of them."""

from typing import TYPE_CHECKING

from prune_ssl.lazy_names import lazily

if TYPE_CHECKING:
    from prune_ssl.runtimes.opening import Opened, open_model
    from prune_ssl.runtimes.registry import RUNTIMES, Runtime, require_runtime

__getattr__, __dir__ = lazily(
    __name__,
    {
        "prune_ssl.runtimes.opening": "Opened open_model",
        "prune_ssl.runtimes.registry": "RUNTIMES Runtime require_runtime",
    },
)

__all__ = ["RUNTIMES", "Opened", "Runtime", "open_model", "require_runtime"]
