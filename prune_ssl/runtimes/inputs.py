"""The inputs of an exported graph: examples of a given length and batch size, and their dynamic axes."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from prune_ssl.models import family_of
from prune_ssl.models.registry import input_shape

Feeds = dict[str, NDArray[np.float32] | NDArray[np.int64]]


def example(
    model: PreTrainedModel, seconds: float, rows: int, masked: bool, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Return clips of noise for a model. With a mask, every second clip is padded by a quarter.

    A model that takes no mask gets none.

    Args:
        model: A model of a known family.
        seconds: Length of the longest clip.
        rows: Number of clips, B.
        masked: Whether to add an attention mask.
        seed: Seed of the noise.

    Returns:
        input_values (B, N) or input_features (B, T, F), as the model takes them, and a mask (B, N or T) of
        int64 by the name that the model gives it.
    """
    kind = family_of(model).input
    generator = torch.Generator().manual_seed(seed)
    shape = (rows, *input_shape(model, seconds, family_of(model))[1:])
    values = torch.randn(shape, generator=generator)
    if not masked or kind.time_axis is None:
        return {model.main_input_name: values}
    length = shape[kind.time_axis]
    mask = torch.ones(rows, length, dtype=torch.long)
    mask[1::2, length * 3 // 4 :] = 0
    spread = [rows] + [1] * (len(shape) - 1)
    spread[kind.time_axis] = length
    return {model.main_input_name: values * mask.view(spread), kind.mask: mask}


def dynamic_axes(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor]) -> dict[str, dict[int, object]]:
    """Return the dynamic axes of each input: batch and time."""
    dynamic, kind = torch.export.Dim.DYNAMIC, family_of(model).input
    axes: dict[str, dict[int, object]] = {name: {0: dynamic, 1: dynamic} for name in inputs}
    axes[model.main_input_name] = {0: dynamic}
    if kind.time_axis is not None:
        axes[model.main_input_name][kind.time_axis] = dynamic
    return axes


def as_feeds(inputs: dict[str, torch.Tensor]) -> Feeds:
    """Return inputs as numpy arrays for a runtime."""
    return {name: np.ascontiguousarray(value.numpy()) for name, value in inputs.items()}
