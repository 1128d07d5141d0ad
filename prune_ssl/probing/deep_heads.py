"""SUPERB's larger heads: bidirectional LSTMs for transcripts, an x-vector for speakers.

Letters: B clips, T frames, L+1 hidden states, D their width, P the projection's, K outputs, E embedding.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import normalize, pad
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from prune_ssl.probing.heads import WeightedSum
from prune_ssl.tasks.joint_loss import margin_softmax

KERNELS, DILATIONS = (5, 3, 3, 1, 1), (1, 2, 3, 1, 1)
REACH = sum((kernel - 1) * dilation for kernel, dilation in zip(KERNELS, DILATIONS, strict=True))
POOLED = 1_500
"""The width of the last convolution, over which the statistics are taken (s3prl's x-vector)."""
MARGIN = 0.4
"""The margin of AM-softmax in SUPERB."""


class RecurrentProbe(nn.Module):
    """Weighted sum, Linear, two bidirectional LSTM layers, Linear: an output for each frame.

    s3prl also masks the features in training (SpecAugment). This probe does not.

    Args:
        states: Number of hidden states, L+1.
        width: Width of the hidden states, D.
        projection: Width of the projection and of each direction, P.
        outputs: Number of outputs, K.
    """

    def __init__(self, states: int, width: int, projection: int, outputs: int) -> None:
        super().__init__()
        self.sum = WeightedSum(states)
        self.projector = nn.Linear(width, projection)
        self.lstm = nn.LSTM(projection, projection, 2, batch_first=True, bidirectional=True, dropout=0.2)
        self.classifier = nn.Linear(2 * projection, outputs)

    def forward(self, states: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Return the outputs (B, T, K) for states (B, L+1, T, D), where `frames` (B,) of T are valid."""
        projected = self.projector(self.sum(states))
        packed = pack_padded_sequence(projected, frames.cpu(), batch_first=True, enforce_sorted=False)
        heard, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=states.shape[2])
        outputs: torch.Tensor = self.classifier(heard)
        return outputs


class XVectorProbe(nn.Module):
    """Weighted sum, Linear, dilated convolutions, mean and deviation over time, Linear: an embedding.

    Args:
        states: Number of hidden states, L+1.
        width: Width of the hidden states, D.
        projection: Width of the projection, of the convolutions and of the embedding, P = E.
        speakers: Number of speakers of train.
    """

    def __init__(self, states: int, width: int, projection: int, speakers: int) -> None:
        super().__init__()
        self.sum = WeightedSum(states)
        self.projector = nn.Linear(width, projection)
        widths = [*[projection] * len(KERNELS), POOLED]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(given, made, kernel, dilation=dilation)
            for given, made, kernel, dilation in zip(widths[:-1], widths[1:], KERNELS, DILATIONS, strict=True)
        )
        self.embedding = nn.Linear(2 * POOLED, projection)
        self.speakers = nn.Parameter(nn.init.xavier_normal_(torch.empty(speakers, projection)))

    def forward(self, states: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Return the embeddings (B, E) for states (B, L+1, T, D), where `frames` (B,) of T are valid."""
        heard = self.projector(self.sum(states)).mT
        heard = pad(heard, (0, max(REACH + 1 - heard.shape[2], 0)))
        for convolution in self.convolutions:
            heard = convolution(heard).relu()
        counts = (frames - REACH).clamp_min(1)
        valid = (torch.arange(heard.shape[2], device=frames.device) < counts[:, None])[:, None]
        mean = (heard * valid).sum(2) / counts[:, None]
        variance = ((heard - mean[..., None]).square() * valid).sum(2) / counts[:, None]
        embedded: torch.Tensor = self.embedding(torch.cat([mean, (variance + 1e-7).sqrt()], 1))
        return embedded

    def loss(self, embeddings: torch.Tensor, speakers: torch.Tensor) -> torch.Tensor:
        """Return the AM-softmax of embeddings (B, E) and class indices (B,), a scalar."""
        cosines = normalize(embeddings, dim=1) @ normalize(self.speakers, dim=1).mT
        return margin_softmax(cosines, speakers, MARGIN)
