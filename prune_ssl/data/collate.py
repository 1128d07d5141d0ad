"""Collation: clips of several lengths become one padded batch, normalized as the model expects."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import ProcessorMixin, Wav2Vec2FeatureExtractor

from prune_ssl.data.audio import SAMPLE_RATE_HZ, Item
from prune_ssl.errors import DataError

IGNORED = -100
"""The label value that every loss of transformers ignores."""


class SpeechCollator:
    """Turn items `{"input_values": (N,), "labels": int or list of int}` into a batch.

    A batch holds:

    - `input_values` (B, N), float32, padded with zeros at the end;
    - `labels`, int64, if the items have labels: (B,) for one class per clip, (B, longest) for sequences,
      padded with IGNORED;
    - `attention_mask` (B, N), if the model takes a mask;
    - `input_lengths` (B,), if `lengths` is set: samples without padding, which distillation needs;
    - `teacher_input_values` (B, N), if the items have them.

    Each clip is normalized by its own samples alone, so that its values do not depend on the other clips of
    the batch. (A feature extractor that makes no mask would include the padding.)

    Args:
        processor: A `Wav2Vec2FeatureExtractor`, or a processor that holds one. None means the extractor of
            wav2vec2-base: zero mean, unit variance, no mask.
        attention_mask: Overrides the feature extractor's `return_attention_mask`.
        sample_rate_hz: The rate of the clips.
        lengths: Whether batches hold `input_lengths`. DistillationTrainer takes them; models do not.

    Raises:
        DataError: the processor has no Wav2Vec2FeatureExtractor, or was made for another rate.

    >>> import numpy as np
    >>> short, long = np.ones(800, dtype=np.float32), np.ones(1600, dtype=np.float32)
    >>> items = [{"input_values": short, "labels": 0}, {"input_values": long, "labels": 1}]
    >>> {name: tuple(values.shape) for name, values in SpeechCollator()(items).items()}
    {'input_values': (2, 1600), 'labels': (2,)}
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

    def __call__(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        """Collate the items into one batch."""
        features = self.feature_extractor(
            [item["input_values"] for item in items],
            sampling_rate=self.sample_rate_hz,
            padding=True,
            return_attention_mask=True,  # always, so that the padding does not count in a clip's statistics
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
    """Return class indices (B,), or sequences padded at the end, (B, longest)."""
    if all(isinstance(each, int) for each in given):
        return torch.tensor(given, dtype=torch.long)
    rows = [torch.tensor(each, dtype=torch.long) for each in given]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED)
