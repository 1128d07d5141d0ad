"""Layers that are compared together: their tensors are stacked, so that a GPU launches few kernels."""

from collections.abc import Sequence

import torch

from prune_ssl.distillation.loss import Batch
from prune_ssl.distillation.taps import Stage

MOST_BYTES = 2**26
"""The most that one stacked tensor takes. Kernels of larger tensors keep a GPU busy, and memory is dear."""


def alike(rows: Sequence[Sequence[torch.Tensor]], stages: Sequence[Stage]) -> list[list[int]]:
    """Return the places of rows whose tensors can be stacked: of equal shapes, dtypes and stages.

    Args:
        rows: for each pair of layers, the tensors that a loss compares.
        stages: of each pair.
    """
    groups: dict[object, list[list[int]]] = {}
    for place, (row, stage) in enumerate(zip(rows, stages, strict=True)):
        key = (stage, *((each.shape, each.dtype) for each in row))
        most = max(1, MOST_BYTES // max(each.numel() * each.element_size() for each in row))
        found = groups.setdefault(key, [[]])
        if len(found[-1]) == most:
            found.append([])
        found[-1].append(place)
    return [places for found in groups.values() for places in found]


def stacked(rows: Sequence[Sequence[torch.Tensor]]) -> list[torch.Tensor]:
    """Return tensors (layers B, ...) of rows of tensors (B, ...)."""
    if len(rows) == 1:
        return list(rows[0])
    return [torch.cat(list(column)) for column in zip(*rows, strict=True)]


def valid_of(batch: Batch, frames: int, stage: Stage, layers: int) -> torch.Tensor | None:
    """Return the valid frames of a batch once for each of the stacked layers, (layers B, T)."""
    valid = batch.valid(frames, stage)
    return valid if valid is None or layers == 1 else valid.repeat(layers, 1)
