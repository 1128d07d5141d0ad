"""How many frames a model makes of a clip, and how short training may hear it."""

from pathlib import Path

import pytest
import torch

from prune_ssl.data import Clip
from prune_ssl.tasks import TaskSettings
from prune_ssl.tasks.frames import frame_count, frame_counts, shortest_in_training
from tests.support.models import tiny_model


@pytest.mark.parametrize("family", ["wav2vec2", "sew"])
def test_the_count_is_that_of_the_frontend(family: str) -> None:
    model = tiny_model(family, "Model")
    for samples in (4_000, 8_000, 8_321):
        with torch.no_grad():
            features = model.feature_extractor(torch.randn(1, samples))
        assert frame_count(samples, model) == features.shape[-1]
    clips = [Clip(Path("a.wav"), "a", seconds) for seconds in (0.25, 0.5)]
    assert frame_counts(clips, model) == [frame_count(4_000, model), frame_count(8_000, model)]


def test_a_clip_is_heard_as_short_as_speed_and_crop_make_it() -> None:
    clip = Clip(Path("a.wav"), "a", 3.0)
    assert shortest_in_training(clip, TaskSettings()).seconds == 3.0 / TaskSettings().speed
    assert shortest_in_training(clip, TaskSettings(speed=1.2)).seconds == pytest.approx(2.5)
    assert shortest_in_training(clip, TaskSettings(speed=1.2, crop_seconds=1.0)).seconds == 1.0
    assert shortest_in_training(clip, TaskSettings(crop_seconds=9.0)).seconds <= 3.0
