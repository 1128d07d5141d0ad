"""The trained part of a probe: the weights of the hidden states and a small head.

Letters: B clips, T frames, L+1 hidden states, D their width, P the projection's, K outputs.
"""

from __future__ import annotations

import torch
from torch import nn


class WeightedSum(nn.Module):
    """A learned convex combination of a frozen encoder's hidden states, with equal weights at the start."""

    def __init__(self, states: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(states))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Return the weighted sum (B, T, D) of states (B, L+1, T, D)."""
        return torch.einsum("l,bltd->btd", self.weights.softmax(0), states)


class Probe(nn.Module):
    """Weighted sum, Linear, mean over the valid frames if `pooled`, Linear.

    Args:
        states: Number of hidden states, L+1.
        width: Width of the hidden states, D.
        projection: Width of the projection, P.
        outputs: Number of outputs, K.
        pooled: Whether each clip has one output, (B, K), or each frame has one, (B, T, K).
    """

    def __init__(self, states: int, width: int, projection: int, outputs: int, *, pooled: bool) -> None:
        super().__init__()
        self.sum = WeightedSum(states)
        self.projector = nn.Linear(width, projection)
        self.classifier = nn.Linear(projection, outputs)
        self.pooled = pooled

    def forward(self, states: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Return the outputs for states (B, L+1, T, D), where the first `frames` (B,) of T are valid."""
        projected = self.projector(self.sum(states))
        if self.pooled:
            valid = torch.arange(projected.shape[1], device=frames.device) < frames[:, None]
            projected = (projected * valid[..., None]).sum(1) / frames[:, None]
        outputs: torch.Tensor = self.classifier(projected)
        return outputs
