"""Batches by seconds: never over the limit, all clips once an epoch, and resumed in the same order."""

import numpy as np
import pytest
import torch

from prune_ssl import DistillationConfig
from prune_ssl.data import CorruptedDataset, Corruption
from prune_ssl.errors import PruneError, RecipeError
from prune_ssl.pipeline.arguments import checked_arguments, phase_arguments
from prune_ssl.recipes import load_recipe
from prune_ssl.recipes.smoke import smoke_version
from prune_ssl.training import SpeechArguments
from prune_ssl.training.batches_by_seconds import BatchesBySeconds, batches_of
from prune_ssl.training.seeded_items import Placed
from tests.support.cli import run_cli
from tests.support.models import tiny_model
from tests.support.training import Listening, StopAt, Unlabelled


def test_batches_hold_every_clip_once_and_no_more_than_the_limit_with_padding():
    generator = np.random.default_rng(0)
    lengths = generator.integers(4_000, 160_000, 500).tolist()
    batches = BatchesBySeconds(lengths, 20.0, seed=3)
    assert sorted(index for batch in batches for index in batch) == list(range(500))
    padded = [len(batch) * max(lengths[index] for index in batch) for batch in batches]
    assert max(padded) <= 320_000
    kept = sum(lengths) / sum(padded)
    assert kept > 0.95, "clips of like length are together"
    assert sum(padded) / len(padded) > 0.75 * 320_000, "batches are full"
    assert len({len(batch) for batch in batches}) > 5


def test_the_order_is_that_of_seed_and_epoch_and_ties_are_shuffled():
    batches = BatchesBySeconds([16_000] * 40, 4.0, seed=1)
    assert len(batches) == 10
    first, again = list(batches), list(batches)
    assert first == again
    batches.sampler.set_epoch(1)
    second = list(batches)
    assert first != second
    assert sorted(map(tuple, first)) == sorted(map(tuple, second)), "as many batches in every epoch"
    assert list(BatchesBySeconds([16_000] * 40, 4.0, seed=1)) == first
    assert list(BatchesBySeconds([16_000] * 40, 4.0, seed=2)) != first
    assert any(sorted(batch) != list(range(min(batch), min(batch) + 4)) for batch in first)
    batches.sampler = Placed(batches.sampler)
    assert [index for index, _ in next(iter(batches))] == second[0]
    assert {place for _, place in list(batches)[5]} == {0.5}


def test_a_clip_that_is_longer_than_a_batch_is_refused():
    assert batches_of([16_000], 16_000, 0) == [[0]]
    with pytest.raises(PruneError, match=r"longest clip has 2 s, more than a batch of 1 s"):
        batches_of([16_000, 32_000], 16_000, 0)


def test_a_run_that_was_stopped_hears_the_same_batches(tmp_path):
    clean = Unlabelled(12)
    clean.lengths = [4_000 * (1 + index // 3) for index in range(12)]

    def heard(name, *callbacks, resume=None):
        torch.manual_seed(0)
        settings = {
            "max_steps": 10,
            "seed": 5,
            "save_strategy": "steps",
            "save_steps": 3,
            "report_to": "none",
        }
        more = {"use_cpu": True, "disable_tqdm": True, "dataloader_pin_memory": False}
        trainer = Listening(
            model=tiny_model("hubert", "Model", hidden_size=8),
            args=SpeechArguments(str(tmp_path / name), batch_seconds=2.0, **settings, **more),
            distillation=DistillationConfig(losses={"l1": 1.0}, task_weight=0),
            teacher=tiny_model("hubert", "Model"),
            train_dataset=CorruptedDataset(clean, Corruption(curriculum=0.5)),
            callbacks=list(callbacks),
        )
        trainer.train(resume_from_checkpoint=resume)
        return trainer.heard

    whole = heard("whole")
    first = heard("again", StopAt(7))  # its last checkpoint is that of step 6
    resumed = heard("again", resume=True)
    assert (len(whole), len(first), len(resumed)) == (10, 7, 4)
    sizes = [len(batch) for batch in whole]
    assert sorted(sizes[:5]) == sorted(sizes[5:]) == [2, 2, 2, 2, 4], "two epochs"
    assert sizes[:5] != sizes[5:], "each in an order of its own"
    assert all(map(torch.equal, [*first[:6], *resumed], whole))


@pytest.mark.slow
def test_a_recipe_trains_on_batches_by_seconds(recipe, tmp_path):
    result = run_cli("run", recipe, "data.batch_seconds=1.0")
    assert result.exit_code == 0, result.output
    loaded = load_recipe(tmp_path / "out" / "recipe.yaml")
    assert phase_arguments(loaded)["dense"].batch_seconds == 1.0
    assert smoke_version(loaded).data.batch_seconds == 8.0
    assert smoke_version(load_recipe(recipe)).data.batch_seconds is None


def test_batches_by_seconds_that_make_no_sense_are_refused(recipe, monkeypatch):
    result = run_cli("run", recipe, "data.batch_seconds=0.1", "--dry-run")
    assert result.exit_code == 2
    assert "but the longest training clip has 0.25 s" in result.output
    for more in ("data.group_by_length=true", "data.stream={}"):
        with pytest.raises(RecipeError, match="batch_seconds"):
            load_recipe(recipe, ["data.batch_seconds=4", more])
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="runs on one process, found 2"):
        checked_arguments(load_recipe(recipe, ["data.batch_seconds=4"]), True, print)
