"""Collation: clips of several lengths become one padded batch, normalized as the model expects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import ProcessorMixin, SequenceFeatureExtractor, Wav2Vec2FeatureExtractor

from prune_ssl.data.audio import SAMPLE_RATE_HZ, Item
from prune_ssl.errors import DataError
from prune_ssl.models.registry import FAMILIES

IGNORED = -100
"""The label value that every loss of transformers ignores."""

VARIANCE_FLOOR = 1e-7
"""Wav2Vec2FeatureExtractor adds it to the variance of a clip."""


class SpeechCollator:
    """Turn items `{"input_values": (N,), "labels": int or list of int}` into a batch.

    A batch holds:

    - `input_values` (B, N), float32, padded with zeros at the end;
    - `labels`, int64, if the items have labels: (B,) for one class per clip, (B, longest) for sequences,
      padded with IGNORED;
    - `attention_mask` (B, N), if the model takes a mask;
    - `input_lengths` (B,), if `lengths` is set: samples without padding, which distillation needs;
    - `teacher_input_values` (B, N), if the items have them: the clean clips, with the mean and the gain of
      the corrupted ones, so that the difference of the two is the noise;
    - `teacher_normalized_values` (B, N), if the feature extractor normalizes as well: the clean clips,
      normalized by themselves, which the teacher hears.

    Each clip is normalized by its own samples alone, so that its values do not depend on the other clips of
    the batch. (A feature extractor that makes no mask would include the padding.)

    The feature extractor decides the names and shapes. Spectrograms of a fixed length are `input_features`
    (B, F, T) without a mask; a mask may be called `padding_mask`.

    Args:
        processor: The feature extractor of a family that recipes train, such as `Wav2Vec2FeatureExtractor`,
            or a processor that holds one. None means the extractor of wav2vec2-base: zero mean, unit
            variance, no mask.
        attention_mask: Overrides the feature extractor's `return_attention_mask`.
        sample_rate_hz: The rate of the clips.
        lengths: Whether batches hold `input_lengths`. DistillationTrainer takes them; models do not.

    Raises:
        DataError: the processor has no feature extractor of a family, or was made for another rate.

    >>> import numpy as np
    >>> short, long = np.ones(800, dtype=np.float32), np.ones(1600, dtype=np.float32)
    >>> items = [{"input_values": short, "labels": 0}, {"input_values": long, "labels": 1}]
    >>> {name: tuple(values.shape) for name, values in SpeechCollator()(items).items()}
    {'input_values': (2, 1600), 'labels': (2,)}
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
        self.normalizes = bool(getattr(extractor, "do_normalize", False))
        self.sample_rate_hz = sample_rate_hz
        self.lengths = lengths
        self.attention_mask = extractor.return_attention_mask if attention_mask is None else attention_mask
        # By the names of the model's arguments: its audio, and the mask where it takes one.
        self._extract: Callable[..., Mapping[str, torch.Tensor]] = found
        self.name, *masks = found.model_input_names
        self.mask = masks[0] if masks else ""

    def __call__(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        """Collate the items into one batch."""
        features = self._features([item["input_values"] for item in items])
        batch = {self.name: features[self.name]}
        if self.attention_mask and self.mask:
            batch[self.mask] = features[self.mask].long()
        if "teacher_input_values" in items[0]:
            batch |= self._of_the_teacher(items)
        if self.lengths:
            batch["input_lengths"] = torch.tensor([len(item["input_values"]) for item in items])
        if "labels" in items[0]:
            batch["labels"] = _labels([item["labels"] for item in items])
        return batch

    def _of_the_teacher(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        alone = self._features([item["teacher_input_values"] for item in items])[self.name]
        if not (isinstance(self.feature_extractor, Wav2Vec2FeatureExtractor) and self.normalizes):
            return {"teacher_input_values": alone}
        # A clip that is normalized by itself is louder than the speech within its noisy version: by 3 dB at
        # 0 dB. No mask from 0 to 1 could make it of the noisy clip.
        scaled = torch.zeros_like(alone)
        for row, item in zip(scaled, items, strict=True):
            noisy, clean = (np.asarray(item[name]) for name in ("input_values", "teacher_input_values"))
            row[: len(clean)] = torch.from_numpy(
                (clean - noisy.mean()) / np.sqrt(noisy.var() + VARIANCE_FLOOR)
            )
        return {"teacher_input_values": scaled, "teacher_normalized_values": alone}

    def _features(self, clips: Sequence[object]) -> Mapping[str, torch.Tensor]:
        # An extractor of models without a mask pads and cuts to their length unless it is told otherwise.
        padding = {"padding": True} if self.mask else {}
        return self._extract(
            [np.asarray(clip) for clip in clips],
            sampling_rate=self.sample_rate_hz,
            return_attention_mask=True,  # always, so that the padding does not count in a clip's statistics
            return_tensors="pt",
            **padding,
        )


def _labels(given: Sequence[int | Sequence[int]]) -> torch.Tensor:
    """Return class indices (B,), or sequences padded at the end, (B, longest)."""
    if all(isinstance(each, int) for each in given):
        return torch.tensor(given, dtype=torch.long)
    rows = [torch.tensor(each, dtype=torch.long) for each in given]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORED)
