"""The loss of a joint task whose speakers are told apart by AM-softmax.

Letters: B clips, S columns of the target, K outputs, N speakers of train.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.nn.functional import cross_entropy, normalize, one_hot

from prune_ssl.data import IGNORED

SCALE = 30.0
"""The factor of the cosines, as in transformers' x-vector models and in SUPERB."""


def margin_softmax(
    cosines: torch.Tensor, speakers: torch.Tensor, margin: float, scale: float = SCALE
) -> torch.Tensor:
    """Return the mean of -log softmax(scale * (cos - margin of the true speaker)), a scalar.

    Additive Margin Softmax (Wang et al., 2018).

    Args:
        cosines: (B, N).
        speakers: (B,), class indices.
        margin: The lead that the cosine of the true speaker must have.
        scale: The factor of the cosines.
    """
    behind = margin * one_hot(speakers, cosines.shape[1]).to(cosines)
    return cross_entropy(scale * (cosines - behind), speakers)


def am_softmax(outputs: torch.Tensor, speakers: torch.Tensor, margin: float) -> torch.Tensor:
    """Return `margin_softmax` of the cosines of the centred outputs (B, N) with the centred axes, a scalar.

    cos_k = (o_k - mean o) / (|o - mean o| sqrt(1 - 1/N)). The centred outputs are what verification compares,
    so the loss has the geometry in which speakers are judged.
    """
    units = normalize(outputs - outputs.mean(1, keepdim=True), dim=1)
    return margin_softmax(units / (1 - 1 / outputs.shape[1]) ** 0.5, speakers, margin)


class JointLoss:
    """The weighted sum of the losses of the columns: AM-softmax of the speakers, cross entropy of the others.

    A column without a known value in a batch has no loss.

    Attributes:
        margin: The margin of the speakers. Dense training raises it step by step.
    """

    def __init__(
        self, segments: Mapping[str, slice], weights: Sequence[float], speaker: str, margin: float
    ) -> None:
        self.segments, self.weights, self.speaker, self.margin = dict(segments), weights, speaker, margin

    def __call__(
        self, outputs: Mapping[str, torch.Tensor], labels: torch.Tensor, num_items_in_batch: object = None
    ) -> torch.Tensor:
        """Return the loss of logits (B, K) and labels (B, S), a scalar."""
        logits = outputs["logits"]
        total = logits.sum() * 0
        for index, ((column, part), weight) in enumerate(
            zip(self.segments.items(), self.weights, strict=True)
        ):
            rows = labels[:, index] != IGNORED
            if not rows.any():
                continue
            found, wanted = logits[rows, part], labels[rows, index]
            own = am_softmax(found, wanted, self.margin) if column == self.speaker else None
            total = total + weight * (cross_entropy(found, wanted) if own is None else own)
        return total
