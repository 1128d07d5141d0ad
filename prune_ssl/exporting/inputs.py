"""The inputs of an exported graph: examples of a given length and batch size, and their dynamic axes."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from prune_ssl.models import family_of
from prune_ssl.models.registry import input_shape

MASK = "attention_mask"
Feeds = dict[str, NDArray[np.float32] | NDArray[np.int64]]


def example(
    model: PreTrainedModel, seconds: float, rows: int, masked: bool, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Return clips of noise for a model. With a mask, every second clip is padded by a quarter.

    Args:
        model: A model of a known family.
        seconds: Length of the longest clip.
        rows: Number of clips, B.
        masked: Whether to add an attention mask.
        seed: Seed of the noise.

    Returns:
        input_values (B, N) or input_features (B, T, F), and attention_mask (B, N or T) of int64.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (rows, *input_shape(model, seconds, family_of(model))[1:])
    values = torch.randn(shape, generator=generator)
    inputs = {model.main_input_name: values}
    if masked:
        mask = torch.ones(shape[:2], dtype=torch.long)
        mask[1::2, shape[1] * 3 // 4 :] = 0
        inputs = {model.main_input_name: values * mask.view(*mask.shape, *[1] * (len(shape) - 2)), MASK: mask}
    return inputs


def dynamic_axes(inputs: Mapping[str, torch.Tensor]) -> dict[str, dict[int, object]]:
    """Return the dynamic axes of each input: batch and time."""
    dynamic = torch.export.Dim.DYNAMIC
    return {name: {0: dynamic, 1: dynamic} for name in inputs}


def as_feeds(inputs: dict[str, torch.Tensor]) -> Feeds:
    """Return inputs as numpy arrays for a runtime."""
    return {name: np.ascontiguousarray(value.numpy()) for name, value in inputs.items()}
