"""Training: a transformers.Trainer that learns what to cut, cuts it, and lets the small model recover."""

from prune_ssl.training.batches_by_seconds import SpeechArguments
from prune_ssl.training.distilling import DistillationTrainer
from prune_ssl.training.record import Finished
from prune_ssl.training.resumable import ResumableTrainer
from prune_ssl.training.speech_trainer import SpeechTrainer
from prune_ssl.training.trainer import PruningTrainer

__all__ = [
    "DistillationTrainer",
    "Finished",
    "PruningTrainer",
    "ResumableTrainer",
    "SpeechArguments",
    "SpeechTrainer",
]
