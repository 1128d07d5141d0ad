"""Owns how many frames a model makes of a clip, and how short training may hear it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedModel

from prune_ssl.data import SAMPLE_RATE_HZ, Clip
from prune_ssl.models.transformers_internals import frames_made
from prune_ssl.tasks.task import TaskSettings


def frame_counts(clips: Sequence[Clip], model: PreTrainedModel) -> list[int]:
    """Frames that `model` makes of each clip alone, without padding."""
    return [frame_count(round(clip.seconds * SAMPLE_RATE_HZ), model) for clip in clips]


def frame_count(samples: int, model: PreTrainedModel) -> int:
    """Frames that `model` makes of so many samples."""
    return frames_made(model, samples)


def shortest_heard(clip: Clip, settings: TaskSettings) -> Clip:
    """Return the clip as short as training may hear it: played fast, then cropped."""
    seconds = clip.seconds / settings.speed
    return replace(clip, seconds=min(seconds, settings.crop_seconds or seconds))
