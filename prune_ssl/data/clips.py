"""Clips (one recording with its target each), and the torch dataset that gives them to a Trainer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.utils.data import Dataset, get_worker_info

from prune_ssl.data.audio import MIN_SAMPLES, SAMPLE_RATE_HZ, Item, Waveform, read_waveform, waveform_problem
from prune_ssl.data.augmentation import Augmentation
from prune_ssl.errors import DataError

logger = logging.getLogger(__name__)

_BAD_SHARE = 0.1  # training stops when more than this share of the clips is unusable


@dataclass(frozen=True)
class Clip:
    """One recording and the target that a model shall predict from it."""

    path: Path
    """The audio file."""
    target: str
    """The label or the text as it stands in metadata.csv. Empty if nothing is predicted."""
    seconds: float
    """Length of the part that is used, after any cut to `max_seconds`."""
    speaker: str | None = None
    """The speaker, if the corpus names one."""
    samples: Waveform | None = field(default=None, repr=False, compare=False)
    """Decoded samples (N,) at the model's rate. None: the clip has not been decoded, or it is not kept."""
    keeps: bool = field(default=False, compare=False)
    """Whether `waveform` keeps the samples in memory once it has decoded them."""

    def waveform(self, sample_rate_hz: int = SAMPLE_RATE_HZ, min_samples: int = MIN_SAMPLES) -> Waveform:
        """Return the samples, shape (N,), from memory or by decoding and checking the file.

        The worker process of a DataLoader uses the samples that were kept before the process was forked. It
        keeps none of its own, because they would be held once per worker and lost with it.

        Raises:
            DataError: the file cannot be used. This happens only if `check_folder` read its header alone.
        """
        if self.samples is not None:
            return self.samples
        samples = read_waveform(self.path, sample_rate_hz, max_seconds=self.seconds)
        problem = waveform_problem(samples, min_samples)
        if problem is not None:
            raise DataError(f"{self.path}: {problem}: remove it from metadata.csv or replace it")
        if self.keeps and get_worker_info() is None:
            object.__setattr__(self, "samples", samples)  # a cached value, as `cached_property` stores one
        return samples


def cropped(samples: Waveform, seconds: float | None, sample_rate_hz: int) -> Waveform:
    """Return a random piece of `seconds` from longer samples (N,). With None, return all samples."""
    most = len(samples) if seconds is None else round(seconds * sample_rate_hz)
    if len(samples) <= most:
        return samples
    # torch's generator is used, as in augmentation, so that a resumed run sees the same pieces.
    start = int(torch.randint(len(samples) - most + 1, ()))
    return samples[start : start + most]


class ClipDataset(Dataset[Item]):
    """Clips as a map-style dataset of `{"input_values": (N,) float32, "labels": encode(target)}`.

    Args:
        clips: From `check_folder(...).splits[...]`.
        encode: Turns a clip's target into the label for the model's loss, for example `task.encode`. If it
            returns None, the item has no labels.
        augmentation: Changes the samples at random each time that a clip is read (training only).
        crop_seconds: A longer clip gives a random piece of this length each time (training only).
        skip_unusable: If a clip turns out to be broken or silent, warn and return the next clip instead.
            Reading stops with a DataError once more than a tenth of the clips are unusable. Use it for
            training only: metrics need every clip in its own place.

    >>> import numpy as np
    >>> clip = Clip(Path("yes.wav"), target="yes", seconds=1.0, samples=np.zeros(16_000, dtype=np.float32))
    >>> items = ClipDataset([clip], {"no": 0, "yes": 1}.__getitem__)
    >>> items[0]["input_values"].shape, items[0]["labels"], items.lengths
    ((16000,), 1, [16000])
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        encode: Callable[[str], object],
        *,
        augmentation: Augmentation | None = None,
        crop_seconds: float | None = None,
        skip_unusable: bool = False,
    ) -> None:
        self.clips = tuple(clips)
        self.labels = [encode(clip.target) for clip in self.clips]
        self.augmentation = augmentation
        self.crop_seconds = crop_seconds
        self.skip_unusable = skip_unusable
        self.unusable: set[int] = set()

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Item:
        index, samples = self._decoded(index)
        if self.augmentation is not None:
            samples = self.augmentation(samples)
        samples = cropped(samples, self.crop_seconds, SAMPLE_RATE_HZ)
        label = self.labels[index]
        return {"input_values": samples} | ({} if label is None else {"labels": label})

    def _decoded(self, index: int) -> tuple[int, Waveform]:
        """Return the index and the samples of a clip, or of the next usable clip if this one is unusable."""
        place = index
        while place in self.unusable:
            place = (place + 1) % len(self)
        try:
            return place, self.clips[place].waveform()
        except DataError as error:
            if not self.skip_unusable:
                raise
            self.unusable.add(place)
            if len(self.unusable) > _BAD_SHARE * len(self):
                raise DataError(
                    f"{len(self.unusable)} of {len(self)} training clips cannot be used (see the warnings "
                    f"above), the last: {error}"
                ) from error
            logger.warning(
                "left out (%d so far), the next clip is used instead: %s", len(self.unusable), error
            )
        return self._decoded(place)

    @property
    def lengths(self) -> list[int]:
        """Number of samples of each clip, before augmentation and after any crop."""
        most = None if self.crop_seconds is None else round(self.crop_seconds * SAMPLE_RATE_HZ)
        whole = [round(clip.seconds * SAMPLE_RATE_HZ) for clip in self.clips]
        return whole if most is None else [min(each, most) for each in whole]

    @property
    def audio_seconds(self) -> float:
        """Total length of the audio."""
        return sum(clip.seconds for clip in self.clips)
