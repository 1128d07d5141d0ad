"""The curriculum of noise: what is easy at first, and who tells how far training is."""

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler, Subset

from prune_ssl import DistillationConfig, PruningConfig, PruningTrainer
from prune_ssl.data import CorruptedDataset, Corruption
from prune_ssl.errors import DataError, RecipeError
from prune_ssl.pipeline.corpora import corruption_of
from prune_ssl.recipes import load_recipe
from prune_ssl.training.seeded_items import Placed, SeededItems
from tests.support.models import tiny_model
from tests.support.training import Listening, StopAt, Tones, Unlabelled, arguments

CLIP = torch.sin(torch.arange(4000) / 9).numpy()


def snr_of(noisy, clean):
    return float(10 * np.log10(np.mean(np.square(clean)) / np.mean(np.square(noisy - clean))))


@pytest.mark.parametrize(("progress", "low"), [(0.0, 20.0), (0.2, 12.0), (0.4, 4.0), (0.5, 0.0), (1.0, 0.0)])
def test_the_lower_snr_falls_from_the_upper_one(progress, low):
    corruption = Corruption(cases=("noise",), snr_db=(0.0, 20.0), curriculum=0.5)
    found = [snr_of(corruption(CLIP, progress), CLIP) for _ in range(300)]
    assert low - 1e-3 <= min(found)
    assert max(found) <= 20 + 1e-3
    if low < 20:
        assert min(found) < low + 0.05 * (20 - low)
        assert max(found) > 20 - 0.05 * (20 - low)
        assert np.mean(found) == pytest.approx((low + 20) / 2, abs=1.5)


def test_reverberation_comes_in_from_never_to_always():
    corruption = Corruption(cases=("reverb",), curriculum=0.8)
    shares = [
        np.mean([not np.array_equal(corruption(CLIP, progress), CLIP) for _ in range(200)])
        for progress in (0.0, 0.4, 0.8, 1.0)
    ]
    assert shares[0] == 0
    assert 0.4 < shares[1] < 0.6
    assert shares[2:] == [1, 1]


def test_where_it_ends_the_draws_are_those_without_a_curriculum():
    for case in ("noise", "reverb", "both", "clean"):
        found = []
        for curriculum, progress in ((0.0, 0.0), (0.5, 0.5), (0.5, 1.0)):
            torch.manual_seed(3)
            corruption = Corruption(cases=(case,), curriculum=curriculum)
            found.append([corruption(CLIP, progress) for _ in range(3)])
        assert np.array_equal(found[0], found[1])
        assert np.array_equal(found[0], found[2])


def test_a_curriculum_that_is_not_followed_is_an_error():
    with pytest.raises(DataError, match=r"curriculum: found 1\.5, wanted a share of training, 0 to 1"):
        Corruption(curriculum=1.5)
    dataset = CorruptedDataset(Unlabelled(4), Corruption(cases=("noise",), curriculum=0.5))
    for each in (dataset, SeededItems(Subset(dataset, [0, 1]), 0)):
        with pytest.raises(DataError, match=r"has a curriculum, but dataset\.training_progress is not set"):
            each[0]
    dataset.training_progress = 0.0
    item = dataset[0]
    assert snr_of(item["input_values"], item["teacher_input_values"]) == pytest.approx(20, abs=1e-3)
    assert CorruptedDataset(Unlabelled(4), Corruption())[0]["input_values"].shape == (4000,)


def test_a_recipe_has_one():
    recipe = load_recipe("recipes/robust_wavlm.yaml", ["data.corruption={curriculum: 0.25}"])
    assert corruption_of(recipe.data).curriculum == 0.25
    assert (
        corruption_of(load_recipe("recipes/ks_digits_hj_mac_kd.yaml", ["data.corruption={}"]).data).curriculum
        == 0
    )
    with pytest.raises(
        RecipeError, match=r"data\.corruption\.curriculum: found 2\.0, wanted a share of training, 0 to 1"
    ):
        load_recipe("recipes/robust_wavlm.yaml", ["data.corruption.curriculum=2"])


# -- who tells how far training is


class Told(Unlabelled):
    """Items that say what they were told."""

    training_progress = None

    def __getitem__(self, index):
        return super().__getitem__(index) | {
            "teacher_input_values": torch.full((4000,), self.training_progress)
        }


def listened(folder, data, callbacks=(), resume=None, **more):
    torch.manual_seed(0)
    trainer = Listening(
        model=tiny_model("hubert", "Model", hidden_size=8),
        args=arguments(folder, **({"max_steps": 10, "per_device_train_batch_size": 3, "seed": 5} | more)),
        distillation=DistillationConfig(losses={"l1": 1.0}, task_weight=0),
        teacher=tiny_model("hubert", "Model"),
        train_dataset=data,
        callbacks=list(callbacks),
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def test_progress_goes_from_0_to_1_clip_by_clip(tmp_path):
    data = Told(12)  # 4 batches of 3: 2.5 epochs
    trainer = listened(tmp_path, data)
    wanted = (np.arange(30) / 30).reshape(10, 3)
    assert np.allclose(trainer.progress, wanted, atol=1e-6)
    assert data.training_progress is None, "as it was before"
    accumulated = listened(tmp_path, Told(12), max_steps=5, gradient_accumulation_steps=2)
    assert np.allclose(accumulated.progress, wanted, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampling", "persistent"), [("random", False), ("random", True), ("group_by_length", False)]
)
def test_workers_and_resuming_change_nothing(tmp_path, sampling, persistent):
    clean = Unlabelled(12)
    clean.lengths = list(range(12))

    def heard(name, *callbacks, corruption=Corruption(curriculum=0.5), **more):  # noqa: B008
        settings = {"save_strategy": "steps", "save_steps": 3, "train_sampling_strategy": sampling}
        data = CorruptedDataset(clean, corruption)
        return torch.stack(listened(tmp_path / name, data, callbacks, **(settings | more)).heard)

    whole = heard("whole")
    workers = heard("workers", dataloader_num_workers=2, dataloader_persistent_workers=persistent)
    first = heard("again", StopAt(7))  # its last checkpoint is that of step 6, in the middle of an epoch
    resumed = heard("again", resume=True)
    assert (len(whole), len(first), len(resumed)) == (10, 7, 4)
    assert torch.equal(workers, whole)
    assert torch.equal(torch.cat([first[:6], resumed]), whole)
    at_once = heard("plain", corruption=Corruption())
    assert not torch.equal(at_once[:5], whole[:5])
    assert torch.equal(at_once[5:], whole[5:]), "from the middle on, the same"


def test_processes_hear_the_places_of_one_order():
    batches = [BatchSampler(Placed(range(8)), 2, drop_last=False) for _ in range(2)]
    shards = [list(BatchSamplerShard(each, 2, rank)) for rank, each in enumerate(batches)]
    assert shards[0] == [[(0, 0.0), (1, 0.125)], [(4, 0.5), (5, 0.625)]]
    assert shards[1] == [[(2, 0.25), (3, 0.375)], [(6, 0.75), (7, 0.875)]]


def test_recovery_hears_the_whole_range(tmp_path, monkeypatch):
    told = []

    class Noting(Tones):
        training_progress = None

        def __getitem__(self, index):
            told.append(self.training_progress)
            return super().__getitem__(index)

    trainer = PruningTrainer(
        model=tiny_model(num_labels=2),
        args=arguments(tmp_path, max_steps=6),
        pruning=PruningConfig(budget="macs=60%", seconds=1.0, round_to=1, recovery=0.5),
        train_dataset=Noting(16),
    )
    trainer.train()
    assert np.allclose(told[:24], np.arange(24) / 24)
    assert set(told[24:]) <= {1.0}, "read ahead"
    told.clear()
    trainer.finalize()
    assert set(told) == {1.0}
