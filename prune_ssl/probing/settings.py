"""The settings of each SUPERB probe: data, head, steps and batch size (s3prl's downstream settings)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FeatureKind = Literal["sum", "last", "projected"]
"""`sum`: a learned sum of all hidden states (SUPERB). `last`: the last one (DistilHuBERT). `projected`: a
learned sum of the states in the teacher's width (ARMHuBERT), by the maps that distillation has kept."""

GRID: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4)
"""The learning rates to search. A bad learning rate changes a result more than compression does."""


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """The probe of one task of SUPERB.

    >>> from dataclasses import replace
    >>> replace(PROBES["ks"], steps=1_000).metric
    'accuracy'
    """

    words: str
    """The task in words."""
    task: Literal["classification", "slots", "phonemes", "ctc", "speaker_verification"]
    """The task of `prune_ssl.tasks` that reads targets and judges."""
    metric: str
    """The metric that SUPERB reports."""
    error: bool = False
    """Whether the metric is an error rate, so that lower is better."""
    target: str = "label"
    """The column or columns to predict."""
    head: Literal["linear", "recurrent", "xvector"] = "linear"
    """The layers after the projection."""
    lexicon: Path | None = None
    """The pronunciations of words, for phonemes of a corpus that has transcripts only."""
    width: int = 256
    """The width of the projection before pooling or the last layer."""
    steps: int
    """The number of training steps."""
    batch_size: int = 32
    """The number of clips of a batch."""
    max_seconds: float | None = None
    """Longer clips are cut to their start. (s3prl draws a random piece; here states are computed once.)"""
    rates: tuple[float, ...] = GRID
    """The learning rates to try."""
    seed: int = 0
    """The seed of heads and batches."""
    features: FeatureKind = "sum"
    """The states that the head reads."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""
    weight_decay: float | None = None
    """The decay of AdamW. None: Adam."""
    balanced: bool = False
    """Whether training clips are drawn so that all labels are equally frequent."""


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
    "asr": ProbeSettings(
        words="speech recognition without a language model",
        task="ctc",
        metric="wer",
        error=True,
        target="text",
        head="recurrent",
        width=1_024,
        steps=200_000,
    ),
    "asv": ProbeSettings(
        words="speaker verification",
        task="speaker_verification",
        metric="eer",
        error=True,
        target="speaker",
        head="xvector",
        width=512,
        steps=200_000,
        batch_size=50,
        max_seconds=8.0,
        max_grad_norm=1_000.0,
        weight_decay=0.01,
    ),
}
"""The probe of each task of SUPERB. SF, SD and QbE are not supported yet."""
