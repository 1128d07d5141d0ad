"""Training: a transformers.Trainer that learns what to cut, cuts it, and lets the small model recover."""

from prune_ssl.training.resumable import ResumableTrainer
from prune_ssl.training.trainer import Finished, PruningTrainer

__all__ = ["Finished", "PruningTrainer", "ResumableTrainer"]
