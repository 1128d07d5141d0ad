"""A model's own masking must fit the clips: said before training, with the clips and the setting."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from prune_ssl import DistillationTrainer, PruningConfig, PruningTrainer
from prune_ssl.data import Clip, ClipDataset
from prune_ssl.errors import DataError, ModelError, TrainingError
from prune_ssl.tasks.masking import masked_frames, require_masks_fit
from tests.support.cli import run_cli
from tests.support.models import tiny_model
from tests.support.training import arguments

MASKING = {"apply_spec_augment": True, "mask_time_prob": 0.5}


def clips(*seconds):
    generator = np.random.default_rng(0)
    return [
        Clip(
            Path(f"clips/{index}.wav"),
            str(index % 2),
            each,
            samples=generator.standard_normal(round(each * 16_000)).astype(np.float32),
        )
        for index, each in enumerate(seconds)
    ]


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm", "sew"])
def test_frames_are_those_that_the_model_masks(family):
    model = tiny_model(family, "Model")
    for samples in (2_400, 4_000, 16_000):
        assert masked_frames(samples, model.config) == int(model._get_feat_extract_output_lengths(samples))


def test_clips_that_are_too_short_are_named():
    model = tiny_model(num_labels=2, **MASKING, mask_time_length=10)
    require_masks_fit(model, clips(0.25, 0.3))
    with pytest.raises(DataError, match=r"2 of 3 .*1\.wav \(0\.150 s, 7\).*mask_time_length=7") as found:
        require_masks_fit(model, clips(1.0, 0.15, 0.2))
    assert "\n" not in str(found.value)
    model.config.mask_time_length = 7
    require_masks_fit(model, clips(1.0, 0.15, 0.2))


@pytest.mark.parametrize("off", [{"apply_spec_augment": False}, {"mask_time_prob": 0.0}])
def test_a_model_that_masks_nothing_takes_any(off):
    require_masks_fit(tiny_model(num_labels=2, **(MASKING | off), mask_time_length=10), clips(0.15))


def test_clips_are_taken_as_training_hears_them():
    model = tiny_model(num_labels=2, **MASKING, mask_time_length=10)
    with pytest.raises(DataError, match=r"clips/0\.wav \(1\.000 s, 4\)"):
        require_masks_fit(model, clips(1.0), clips(0.1))


def test_masks_over_features_must_fit_the_width():
    model = tiny_model(num_labels=2, mask_feature_prob=0.1, mask_feature_length=64)
    with pytest.raises(ModelError, match=r"64 features .*hidden_size.*mask_feature_length=16"):
        require_masks_fit(model, clips(1.0))


MASKED_CONFIG = ["model.config.mask_time_prob=0.5", "model.config.mask_time_length=10"]


@pytest.mark.parametrize("how", ["clips", "crop", "speed"])
@pytest.mark.parametrize("dry", [True, False])
def test_a_recipe_says_so_before_training(recipe, corpus, tmp_path, how, dry):
    more = {
        "clips": [],
        "crop": ["data.crop_seconds=0.2"],
        "speed": ["data.augment={speeds: [1.0, 1.3]}"],
    }[how]
    if how == "clips":
        wave = 0.1 * np.random.default_rng(0).standard_normal(2_400)
        soundfile.write(corpus / "train" / "3.wav", wave, 16_000)
    result = run_cli("run", recipe, *MASKED_CONFIG, *more, *(["--dry-run"] if dry else []))
    assert result.exit_code == 2
    assert "mask_time_length" in result.stderr
    assert ".wav" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_judged_clip_may_be_short(recipe, corpus, tmp_path):
    wave = 0.1 * np.random.default_rng(0).standard_normal(2_400)
    soundfile.write(corpus / "test" / "3.wav", wave, 16_000)
    assert run_cli("run", recipe, *MASKED_CONFIG, "--dry-run").exit_code == 0


@pytest.mark.parametrize("pruned", [True, False])
def test_a_trainer_without_lengths_ends_with_one_error(tmp_path, pruned):
    model = tiny_model(num_labels=2, **MASKING, mask_time_length=10)
    settings = {
        "model": model,
        "args": arguments(tmp_path),
        "train_dataset": ClipDataset(clips(*[0.15] * 8), int),
    }
    config = PruningConfig(budget="macs=70%", seconds=1.0, round_to=1)
    trainer = PruningTrainer(pruning=config, **settings) if pruned else DistillationTrainer(**settings)
    with pytest.raises(TrainingError, match=r"step 1: .*SpecAugment masks 10 frames.*clips/\d\.wav") as found:
        trainer.train()
    assert "\n" not in str(found.value)
