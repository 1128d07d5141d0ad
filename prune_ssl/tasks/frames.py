"""The number of frames that a model makes of a clip, and the shortest form of a clip in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedModel

from prune_ssl.data import SAMPLE_RATE_HZ, Clip
from prune_ssl.models.transformers_internals import frames_made
from prune_ssl.tasks.task import TaskSettings


def frame_counts(clips: Sequence[Clip], model: PreTrainedModel) -> list[int]:
    """Return the number of frames that `model` makes of each clip alone, without padding."""
    return [frame_count(round(clip.seconds * SAMPLE_RATE_HZ), model) for clip in clips]


def frame_count(samples: int, model: PreTrainedModel) -> int:
    """Return the number of frames that `model` makes of so many samples, after an adapter if it has one.

    >>> from transformers import HubertConfig, HubertModel
    >>> config = HubertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    >>> frame_count(16_000, HubertModel(config))
    49
    """
    return frames_made(model, samples)


def shortest_in_training(clip: Clip, settings: TaskSettings) -> Clip:
    """Return the clip at the shortest length that training may give it: played fast, then cropped."""
    seconds = clip.seconds / settings.speed
    return replace(clip, seconds=min(seconds, settings.crop_seconds or seconds))
