"""Starts a frontend without pre-training: mel-spaced band-pass filters first, and means of them behind.

A random first convolution needs more audio than a small corpus has to become a filterbank, which this one is
from the first step. It stays an ordinary layer, which trains and is pruned like any other: a cut leaves few
filters, and they must adapt. `model.filterbank: fixed` keeps them as they are.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from transformers import PreTrainedModel

from prune_ssl.errors import ModelError
from prune_ssl.models.registry import backbone_of, family_of

PHASES = 2
"""Filters of each band: a cosine and a sine, whose rectified outputs together follow the band's envelope."""

NOISE = 0.3

LOW_HZ, HIGH_HZ = 60.0, 7_600.0
WIDEST_WINDOW = 0.2
"""Deviation of the longest Gaussian, as a part of the kernel: nothing is cut off at its ends."""


def first_convolution(model: PreTrainedModel) -> nn.Conv1d:
    """Return the convolution (C, 1, K) over samples.

    Raises:
        ModelError: there is none.
    """
    found = _convolutions(model)
    if not found or found[0].in_channels != 1:
        raise ModelError(
            f"{type(model).__name__}: filterbank: its frontend has no first convolution over samples: leave "
            "model.filterbank out"
        )
    return found[0]


def _convolutions(model: PreTrainedModel) -> list[nn.Conv1d]:
    _, backbone = backbone_of(model)
    found = (backbone.get_submodule(path) for path in family_of(model).convs(backbone))
    return [conv for conv in found if isinstance(conv, nn.Conv1d)]


def start_as_filterbank_(model: PreTrainedModel, sample_rate_hz: int = 16_000) -> PreTrainedModel:
    """Give the first convolution Gabor filters in place, and return the model.

    Channels beyond a whole number of bands keep their weights.

    Raises:
        ModelError: there is no convolution over samples.
    """
    weight = first_convolution(model).weight
    filters = gabor_filters(weight.shape[0] // PHASES, weight.shape[2], sample_rate_hz)
    with torch.no_grad():
        weight[: len(filters), 0] = filters.to(weight)
    return model


def pass_on_(model: PreTrainedModel) -> PreTrainedModel:
    """Start unit i of each convolution after the first as the mean over time of channel i; return the model.

    Random weights are added at NOISE of their size, and are all that units beyond the channels have. What the
    first convolution hears then comes through to the encoder, where several random layers lose it (as an
    orthogonal start at the kernel's centre does: Xiao et al., Dynamical Isometry, ICML 2018).

    Raises:
        ModelError: there is no convolution over samples.
    """
    first_convolution(model)
    with torch.no_grad():
        for conv in _convolutions(model)[1:]:
            weight = conv.weight
            units, channels, kernel = weight.shape
            weight.mul_(NOISE)
            weight += torch.eye(units, channels).to(weight)[:, :, None] / kernel
    return model


def gabor_filters(bands: int, kernel: int, sample_rate_hz: int = 16_000) -> torch.Tensor:
    """Return filters (2 * bands, kernel), all cosines first, centred on the mel scale.

    A band is as wide as its distance to the next, or as the kernel allows (Zeghidour et al., Learning
    Filterbanks from Raw Speech, ICASSP 2018, start from mel filters as well). The gain rises by 6 dB an
    octave, as the spectrum of speech falls.
    """
    edges = mel_centres(bands + 1, sample_rate_hz)
    centres, spacing = edges[:-1, None], edges.diff()[:, None]
    # Full width at half maximum of the amplitude response = spacing: deviations in Hz, then in seconds.
    deviation_hz = spacing / (2 * math.sqrt(2 * math.log(2)))
    seconds = (torch.arange(kernel, dtype=torch.float64) - (kernel - 1) / 2) / sample_rate_hz
    deviation = (1 / (2 * math.pi * deviation_hz)).clamp(max=WIDEST_WINDOW * kernel / sample_rate_hz)
    window = torch.exp(-0.5 * (seconds / deviation) ** 2)
    window = window / window.sum(dim=1, keepdim=True) * centres / HIGH_HZ
    turns = 2 * math.pi * centres * seconds
    return torch.cat([window * turns.cos(), window * turns.sin()]).float()


def mel_centres(count: int, sample_rate_hz: int) -> torch.Tensor:
    """Return frequencies in Hz (count,), equally far apart on the mel scale (O'Shaughnessy, 1987)."""
    high = min(HIGH_HZ, 0.475 * sample_rate_hz)
    low, top = (1127 * math.log1p(hz / 700) for hz in (LOW_HZ, high))
    mels = torch.linspace(low, top, count, dtype=torch.float64)
    return 700 * torch.expm1(mels / 1127)
