"""Training: a transformers.Trainer that learns what to cut, cuts it, and lets the small model recover."""

from typing import TYPE_CHECKING

from prune_ssl.lazy_names import lazily

if TYPE_CHECKING:
    from prune_ssl.training.batches_by_seconds import SpeechArguments
    from prune_ssl.training.distilling import DistillationTrainer
    from prune_ssl.training.record import Finished
    from prune_ssl.training.resumable import ResumableTrainer
    from prune_ssl.training.speech_trainer import SpeechTrainer
    from prune_ssl.training.trainer import PruningTrainer

__getattr__, __dir__ = lazily(
    __name__,
    {
        "prune_ssl.training.batches_by_seconds": "SpeechArguments",
        "prune_ssl.training.distilling": "DistillationTrainer",
        "prune_ssl.training.record": "Finished",
        "prune_ssl.training.resumable": "ResumableTrainer",
        "prune_ssl.training.speech_trainer": "SpeechTrainer",
        "prune_ssl.training.trainer": "PruningTrainer",
    },
)

__all__ = [
    "DistillationTrainer",
    "Finished",
    "PruningTrainer",
    "ResumableTrainer",
    "SpeechArguments",
    "SpeechTrainer",
]
