"""What a recipe trains on: corruption, who hears it, and its refusals."""

import numpy as np
import pytest
import torch

from prune_ssl.data import ClipDataset, CorruptedDataset
from prune_ssl.errors import DataError, DistillationError, RecipeError
from prune_ssl.pipeline import dry_run
from prune_ssl.pipeline.corpora import read_corpus
from prune_ssl.pipeline.preparation import distillation_config
from tests.support.words import clips_of, recipe_of

NOISY = "data.corruption={cases: [noise], snr_db: [0, 0], white_probability: 1.0}"


def test_the_student_hears_noise_at_the_asked_ratio_and_the_teacher_the_clean_clip():
    clean, noisy = clips_of(recipe_of()), clips_of(recipe_of(NOISY))
    assert isinstance(clean, ClipDataset)
    assert isinstance(noisy, CorruptedDataset)
    assert noisy.lengths == clean.lengths
    for index in (0, 100):
        plain, item = clean[index]["input_values"], noisy[index]
        assert np.array_equal(item["teacher_input_values"], plain)
        noise = item["input_values"] - plain
        assert 10 * np.log10(np.mean(plain**2) / np.mean(noise**2)) == pytest.approx(0.0, abs=0.01)
        assert item["labels"] == clean[index]["labels"]


def test_who_hears_noise_while_the_dense_model_trains_and_what_a_teacher_hears():
    robust = recipe_of(NOISY)
    assert isinstance(clips_of(robust, dense=True), ClipDataset), "a teacher of clean audio"
    augmented = recipe_of(NOISY, "data.corruption.clean_teacher=false")
    assert isinstance(clips_of(augmented, dense=True), CorruptedDataset)
    assert set(clips_of(augmented)[0]) == {"input_values", "labels"}
    alone = recipe_of(NOISY, "distillation=null")
    assert isinstance(clips_of(alone, dense=True), CorruptedDataset)


def test_corruption_brings_the_noise_and_augmentation_none_beside_it():
    recipe = recipe_of("data.augment=true", "data.corruption={cases: [clean]}")
    dataset = clips_of(recipe)
    assert dataset.clean.augmentation.noise_probability == 0.0
    assert clips_of(recipe_of("data.augment=true")).augmentation.noise_probability > 0
    torch.manual_seed(0)
    item = dataset[0]
    assert np.array_equal(item["input_values"], item["teacher_input_values"])


def test_a_corruption_that_cannot_be_made_is_refused_before_any_training(tmp_path):
    (tmp_path / "empty").mkdir()
    recipe = recipe_of(f"data.corruption={{noise: {tmp_path / 'empty'}}}", f"output={tmp_path}/out")
    with pytest.raises(DataError, match="no audio file"):
        dry_run(recipe, say=lambda line: None)
    with pytest.raises(RecipeError, match=r"unknown key 'data\.corruption\.rir'; did you mean 'rirs'"):
        recipe_of("data.corruption={rir: rooms}")
    with pytest.raises(RecipeError, match=r"data\.corruption\.cases"):
        recipe_of("data.corruption={cases: [rain]}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.augment=true", r"set data\.augment: false"),
        ("data.crop_seconds=0.5", r"leave data\.crop_seconds out"),
        (
            "data.corruption={clean_teacher: false}",
            r"give the teacher clean audio, data\.corruption\.clean_teacher",
        ),
    ],
)
def test_a_cache_of_a_teacher_that_never_hears_a_clip_twice_is_refused(override, message, tmp_path):
    cached = ["distillation.teacher_cache=memory", f"output={tmp_path}/out"]
    with pytest.raises(RecipeError, match=message):
        dry_run(recipe_of(*cached, override), say=lambda line: None)


def test_groups_of_logits_that_are_not_the_task_s_are_refused_before_any_training(tmp_path):
    distilled = ["distillation={losses: {logits: 1.0}, logit_groups: [3, 300]}", "smoke=true"]
    with pytest.raises(DistillationError, match=r"logit_groups: found \[3, 300\].*one group: leave it out"):
        dry_run(recipe_of(*distilled, f"output={tmp_path}/out"), say=lambda line: None)


def test_a_cache_of_a_teacher_that_hears_clips_as_they_are_is_taken(tmp_path):
    cached = [f"distillation.teacher_cache={tmp_path}/kept", f"output={tmp_path}/out", "data.corruption={}"]
    recipe = recipe_of(*cached, "distillation.teacher_cache_gb=2", "smoke=true")
    assert distillation_config(recipe.distillation).teacher_cache == f"{tmp_path}/kept"
    assert distillation_config(recipe.distillation).teacher_cache_gb == 2
    dry_run(recipe, say=lambda line: None)
    assert not (tmp_path / "kept").exists()


def test_short_and_long_train_clips_can_be_left_out():
    """The durations of DPHuBERT, on words of 0.4 to 0.9 s."""
    seconds = [clip.seconds for clip in read_corpus(recipe_of(), say=lambda line: None).clips.splits["train"]]
    low, high = sorted(seconds)[len(seconds) // 4], sorted(seconds)[3 * len(seconds) // 4]
    lines = []
    limits = [f"data.min_seconds={low}", f"data.max_seconds={high}", "data.longer=leave_out"]
    found = read_corpus(recipe_of(*limits), lines.append).clips.splits
    assert [clip.seconds for clip in found["train"]] == [each for each in seconds if low <= each <= high]
    assert max(clip.seconds for clip in found["validation"]) > high, "judged whole"
    assert any(f"clips of train shorter than {low:g} s left out" in line for line in lines)
    with pytest.raises(DataError, match="all clips of train are shorter than 60 s"):
        read_corpus(recipe_of("data.min_seconds=60"), say=lambda line: None)
