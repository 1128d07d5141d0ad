"""Owns the losses on hidden states: L1, cosine (raw and log-sigmoid) and mean squared error.

All take student and teacher (B, T, D) of equal D, and `valid` (B, T) bool or None, and give a scalar.
"""

from collections.abc import Callable

import torch
from torch.nn import functional as F

from prune_ssl.distillation.frames import frame_mean, full_precision

HiddenLoss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]


@full_precision
def l1(student: torch.Tensor, teacher: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Return mean |s - t| over channels and valid frames (DistilHuBERT, DPHuBERT; methods 4.2, 5)."""
    return frame_mean((student - teacher).abs().mean(-1), valid)


@full_precision
def cosine(student: torch.Tensor, teacher: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Return the mean of 1 - cos(s, t) over valid frames: DPHuBERT's -cos, but 0 at its best."""
    return frame_mean(1 - F.cosine_similarity(student, teacher, dim=-1), valid)


@full_precision
def log_cosine(
    student: torch.Tensor, teacher: torch.Tensor, valid: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the mean of -log sigmoid(cos(s, t)) over valid frames (DistilHuBERT; methods 5)."""
    return frame_mean(-F.logsigmoid(F.cosine_similarity(student, teacher, dim=-1)), valid)


@full_precision
def mse(student: torch.Tensor, teacher: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Return mean (s - t)^2 over channels and valid frames (FitHuBERT, CoFi; methods 2.5, 10)."""
    return frame_mean((student - teacher).square().mean(-1), valid)


@full_precision
def masking_mse(
    student: torch.Tensor,
    clean: torch.Tensor,
    masked: torch.Tensor,
    hidden_frames: torch.Tensor,
    valid: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return ARM's masking distillation of one layer (methods 6.3), a scalar.

    Frames that the student could not hear follow the teacher that heard them; the others follow the teacher
    that heard what the student heard. Means over channels and over all valid frames together.

    Args:
        student: (B, T, D), the student's (projected) states for the masked input.
        clean: (B, T, D), the teacher's states for the whole input.
        masked: (B, T, D), the teacher's states for the masked input.
        hidden_frames: (B, T) bool, True where the input was masked.
        valid: (B, T) bool or None.
    """
    target = torch.where(hidden_frames.unsqueeze(-1), clean, masked)
    return frame_mean((student - target).square().mean(-1), valid)


HIDDEN_LOSSES: dict[str, HiddenLoss] = {"l1": l1, "cosine": cosine, "log_cosine": log_cosine, "mse": mse}
"""Loss on a pair of hidden states by the name that a config gives it."""
