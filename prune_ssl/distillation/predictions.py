"""Owns the losses on what a model says in the end: class logits, CTC frame posteriors, embeddings."""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from prune_ssl.distillation.frames import frame_mean, full_precision


@full_precision
def logits_kl(
    student: torch.Tensor,
    teacher: torch.Tensor,
    temperature: float = 1.0,
    groups: Sequence[int] | None = None,
) -> torch.Tensor:
    """Return tau^2 KL(softmax(t / tau) || softmax(s / tau)), the mean over the batch (methods 2.5), a scalar.

    Args:
        student: (B, K) logits.
        teacher: (B, K) logits.
        temperature: tau; the factor tau^2 keeps the gradient's size (Hinton et al. 2015, sec. 2).
        groups: Sizes of the parts of K that have a softmax each (one for each slot), in order; their
            divergences are added, and logits behind the last part are left out. None: one softmax over K.

    Raises:
        ValueError: the groups are more than K.
    """
    if groups is None:
        return _divergence(student, teacher, temperature).mean()
    sizes = [*groups, student.shape[-1] - sum(groups)]
    if sizes[-1] < 0:
        raise ValueError(f"groups of {sum(groups)} logits, but there are {student.shape[-1]}")
    parts = zip(torch.split(student, sizes, -1)[:-1], torch.split(teacher, sizes, -1)[:-1], strict=True)
    return torch.stack([_divergence(own, target, temperature) for own, target in parts]).sum(0).mean()


@full_precision
def frame_logits_kl(
    student: torch.Tensor,
    teacher: torch.Tensor,
    valid: torch.Tensor | None = None,
    temperature: float = 1.0,
) -> torch.Tensor:
    """Return tau^2 KL of the posteriors of every frame (CTC, frame labels), the mean over valid frames.

    Args:
        student: (B, T, K) logits.
        teacher: (B, T, K) logits.
        valid: (B, T) bool or None.
        temperature: tau.
    """
    return frame_mean(_divergence(student, teacher, temperature), valid)


def _divergence(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    own, target = F.log_softmax(student / temperature, -1), F.log_softmax(teacher / temperature, -1)
    return temperature**2 * F.kl_div(own, target, reduction="none", log_target=True).sum(-1)


@full_precision
def embedding_cosine(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Return the mean of 1 - cos(s, t) of utterance embeddings (B, E), as verification compares them."""
    return (1 - F.cosine_similarity(student, teacher, dim=-1)).mean()
