"""What a model takes: the shape of its input for a length of audio."""

from typing import Any

from torch import nn

from prune_ssl.errors import ModelError
from prune_ssl.models.families import Family, backbone_of, family_of

SAMPLE_RATE_HZ = 16_000
FILTERBANK_KERNEL = (400, 160)  # 25 ms windows every 10 ms at 16 kHz


def input_shape(model: nn.Module, seconds: float, family: Family | None = None) -> tuple[int, ...]:
    """Return the shape for `seconds` of 16 kHz audio, batch 1: (1, N) samples or (1, T, F) features.

    A model of no known family is taken to want samples.
    """
    samples = round(seconds * SAMPLE_RATE_HZ)
    if family is None:
        try:
            family = family_of(model)
        except ModelError:
            return 1, samples
    if not family.filterbank:
        return 1, samples
    window, hop = FILTERBANK_KERNEL
    windows = max((samples - window) // hop + 1, 0)
    backbone: Any = backbone_of(model)[1]
    return 1, -(-windows // family.filterbank), int(backbone.config.feature_projection_input_dim)
