"""Owns what all losses share: full precision, and means over the valid frames of each utterance."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import torch

P = ParamSpec("P")
HALVES = (torch.float16, torch.bfloat16)


def full_precision(loss: Callable[P, torch.Tensor]) -> Callable[P, torch.Tensor]:
    """Make a loss compute in float32 at least, inside autocast too: sums of squares overflow float16."""

    @wraps(loss)
    def computed(*args: P.args, **kwargs: P.kwargs) -> torch.Tensor:
        device = next((arg.device.type for arg in args if isinstance(arg, torch.Tensor)), "cpu")
        with torch.autocast(device, enabled=False):
            widened = [_widened(arg) for arg in args]
            return loss(*widened, **{key: _widened(value) for key, value in kwargs.items()})  # type: ignore[arg-type]

    return computed


def _widened(value: object) -> object:
    return value.float() if isinstance(value, torch.Tensor) and value.dtype in HALVES else value


def frame_mean(values: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Return the mean over the valid frames of each utterance, averaged over the batch: (B, T) -> scalar.

    So the loss of a padded batch is the mean of the losses that its utterances have alone, and without
    padding it is the plain mean over B and T that the papers use.

    Args:
        values: (B, T).
        valid: (B, T) bool, True on frames of audio; None: all are.
    """
    if valid is None:
        return values.mean()
    counts = valid.sum(1).clamp_min(1)
    return (values.masked_fill(~valid, 0).sum(1) / counts).mean()
