"""Owns collation: clips of several lengths become one padded batch, normalized as the model expects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import ProcessorMixin, SequenceFeatureExtractor, Wav2Vec2FeatureExtractor

from prune_ssl.data.audio import SAMPLE_RATE_HZ
from prune_ssl.errors import DataError
from prune_ssl.models.registry import FAMILIES

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

    A feature extractor of another family gives its own names and shapes: spectrograms of a fixed length are
    `input_features` (B, F, T) without a mask, a padding mask may be called `padding_mask`.

    Args:
        processor: The feature extractor of a family that recipes train, such as `Wav2Vec2FeatureExtractor`,
            or a processor that holds one. None means the one of wav2vec2-base: zero mean and unit variance,
            no mask.
        attention_mask: Overrides the feature extractor's `return_attention_mask`.
        sample_rate_hz: The rate of the clips.
        lengths: Whether batches hold `input_lengths`, which no model takes: for DistillationTrainer.

    Raises:
        DataError: the processor is of another kind, or made for another rate.
    """

    def __init__(
        self,
        processor: SequenceFeatureExtractor | ProcessorMixin | None = None,
        *,
        attention_mask: bool | None = None,
        sample_rate_hz: int = SAMPLE_RATE_HZ,
        lengths: bool = False,
    ) -> None:
        if processor is None:
            processor = Wav2Vec2FeatureExtractor()
        found: Any = getattr(processor, "feature_extractor", processor)
        extractor = found
        known = dict.fromkeys(each.input.extractor for each in FAMILIES.values() if each.input.extractor)
        if not isinstance(extractor, SequenceFeatureExtractor) or type(extractor).__name__ not in known:
            raise DataError(
                f"SpeechCollator: the processor is a {type(extractor).__name__}, "
                f"one of {', '.join(known)} is wanted: other features are not made here"
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
        # By the names of the model's arguments: its audio, and the mask where it takes one.
        self._extract: Callable[..., Mapping[str, torch.Tensor]] = found
        self.name, *masks = found.model_input_names
        self.mask = masks[0] if masks else ""

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Collate the items into one batch."""
        features = self._features(items, "input_values")
        batch = {self.name: features[self.name]}
        if self.attention_mask and self.mask:
            batch[self.mask] = features[self.mask].long()
        if "teacher_input_values" in items[0]:
            batch["teacher_input_values"] = self._features(items, "teacher_input_values")[self.name]
        if self.lengths:
            batch["input_lengths"] = torch.tensor([len(item["input_values"]) for item in items])
        if "labels" in items[0]:
            batch["labels"] = _labels([item["labels"] for item in items])
        return batch

    def _features(self, items: Sequence[dict[str, Any]], name: str) -> Mapping[str, torch.Tensor]:
        # An extractor of models without a mask pads and cuts to their length unless it is told otherwise.
        padding = {"padding": True} if self.mask else {}
        return self._extract(
            [np.asarray(item[name]) for item in items],
            sampling_rate=self.sample_rate_hz,
            return_attention_mask=True,  # always: the statistics of a clip must leave its padding out
            return_tensors="pt",
            **padding,
        )


def _labels(given: Sequence[int | Sequence[int]]) -> torch.Tensor:
    """Class indices (B,), or sequences padded at the end, (B, longest)."""
    if all(isinstance(each, int) for each in given):
        return torch.tensor(given, dtype=torch.long)
    rows = [torch.tensor(each, dtype=torch.long) for each in given]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED)
