"""Optimising: a model that computes the same function faster, for inference only."""

from prune_ssl.optimising.folding import fold_
from prune_ssl.optimising.inference import optimize_for_inference

__all__ = ["fold_", "optimize_for_inference"]
