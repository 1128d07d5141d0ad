"""Owns collation: clips of several lengths become one padded batch, normalized as the model expects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import ProcessorMixin, Wav2Vec2FeatureExtractor

from prune_ssl.data.audio import SAMPLE_RATE_HZ
from prune_ssl.errors import DataError

IGNORED = -100
"""The label that every loss of transformers leaves out."""


class SpeechCollator:
    """Turn `{"input_values": (N,), "labels": int or ints}` items into a batch.

    The result has `input_values` (B, N) float32, padded with zeros at the end; `labels` int64 where the items
    have labels, (B,) for one class each, (B, longest) padded with IGNORED for sequences; `attention_mask`
    (B, N) where the model wants one; and, where `lengths` is set, `input_lengths` (B,), samples without
    padding, by which distillation leaves padding out. Items with `teacher_input_values` (N,) give those too,
    (B, N). Each clip is normalized by its own samples only, so that what a clip looks like never depends on
    the batch that it is in (the feature extractor alone includes the padding when it makes no mask).

    Args:
        processor: A `Wav2Vec2FeatureExtractor`, or a processor that holds one. None means the one of
            wav2vec2-base: zero mean and unit variance, no mask.
        attention_mask: Overrides the feature extractor's `return_attention_mask`.
        sample_rate_hz: The rate of the clips.
        lengths: Whether batches hold `input_lengths`, which no model takes: for DistillationTrainer.

    Raises:
        DataError: the processor is of another kind, or made for another rate.
    """

    def __init__(
        self,
        processor: Wav2Vec2FeatureExtractor | ProcessorMixin | None = None,
        *,
        attention_mask: bool | None = None,
        sample_rate_hz: int = SAMPLE_RATE_HZ,
        lengths: bool = False,
    ) -> None:
        if processor is None:
            processor = Wav2Vec2FeatureExtractor()
        extractor = getattr(processor, "feature_extractor", processor)
        if not isinstance(extractor, Wav2Vec2FeatureExtractor):
            raise DataError(
                f"SpeechCollator: the processor is a {type(extractor).__name__}, "
                "a Wav2Vec2FeatureExtractor is wanted: models that take spectrograms are not supported here"
            )
        if extractor.sampling_rate != sample_rate_hz:
            raise DataError(
                f"SpeechCollator: the feature extractor was made for {extractor.sampling_rate} Hz and the "
                f"clips are at {sample_rate_hz} Hz: "
                f"read the folder with FolderConfig(sample_rate_hz={extractor.sampling_rate})"
            )
        self.feature_extractor = extractor
        self.sample_rate_hz = sample_rate_hz
        self.lengths = lengths
        self.attention_mask = extractor.return_attention_mask if attention_mask is None else attention_mask

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Collate the items into one batch."""
        features = self.feature_extractor(
            [item["input_values"] for item in items],
            sampling_rate=self.sample_rate_hz,
            padding=True,
            return_attention_mask=True,  # always: the statistics of a clip must leave its padding out
            return_tensors="pt",
        )
        batch = {"input_values": features["input_values"]}
        if self.attention_mask:
            batch["attention_mask"] = features["attention_mask"].long()
        if "teacher_input_values" in items[0]:
            batch["teacher_input_values"] = self.feature_extractor(
                [item["teacher_input_values"] for item in items],
                sampling_rate=self.sample_rate_hz,
                padding=True,
                return_attention_mask=True,
                return_tensors="pt",
            )["input_values"]
        if self.lengths:
            batch["input_lengths"] = features["attention_mask"].sum(-1)
        if "labels" in items[0]:
            batch["labels"] = _labels([item["labels"] for item in items])
        return batch


def _labels(given: Sequence[int | Sequence[int]]) -> torch.Tensor:
    """Class indices (B,), or sequences padded at the end, (B, longest)."""
    if all(isinstance(each, int) for each in given):
        return torch.tensor(given, dtype=torch.long)
    rows = [torch.tensor(each, dtype=torch.long) for each in given]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED)
