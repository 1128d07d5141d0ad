"""Owns how each SUPERB task is probed: data, head, steps, batch (s3prl's downstream settings)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GRID: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4)
"""Learning rates to search: an untuned one changes a result more than a compression does."""


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """One task of SUPERB."""

    words: str
    task: Literal["classification", "slots", "phonemes"]
    """The task of ours that reads targets and judges."""
    metric: str
    """The key of its metrics that SUPERB reports."""
    error: bool = False
    """Whether less of it is better."""
    target: str = "label"
    """The column or columns to predict."""
    width: int = 256
    """Of the projection before pooling or the last layer."""
    steps: int
    batch_size: int = 32
    max_seconds: float | None = None
    """Longer clips are cut to their start (s3prl draws a random piece; states are kept here)."""
    rates: tuple[float, ...] = GRID
    """Learning rates to try."""
    seed: int = 0
    """Of heads and batches."""
    balanced: bool = False
    """Whether training clips are drawn so that all labels come equally often."""


PROBES: dict[str, ProbeSettings] = {
    "ks": ProbeSettings(
        words="keyword spotting", task="classification", metric="accuracy", steps=200_000, balanced=True
    ),
    "ic": ProbeSettings(
        words="intent classification, all slots right",
        task="slots",
        metric="accuracy",
        target="action|object|location",
        steps=200_000,
    ),
    "sid": ProbeSettings(
        words="speaker identification",
        task="classification",
        metric="accuracy",
        target="speaker",
        steps=200_000,
        max_seconds=8.0,
    ),
    "er": ProbeSettings(
        words="emotion recognition, mean of folds", task="classification", metric="accuracy", steps=30_000
    ),
    "pr": ProbeSettings(
        words="phoneme recognition",
        task="phonemes",
        metric="per",
        error=True,
        target="phonemes",
        steps=100_000,
    ),
}
"""Task of SUPERB -> how it is probed. ASR, SF, ASV, SD and QbE are not here yet."""
