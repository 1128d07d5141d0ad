"""Slot filling: targets of several columns, the summed loss, and its metrics."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import EvalPrediction

from prune_ssl.data import IGNORED, Clip, ClipDataset, SpeechCollator, SpeechFolder
from prune_ssl.errors import DataError
from prune_ssl.tasks import Slots, TaskSettings
from prune_ssl.training import SpeechTrainer
from tests.support.models import tiny_model
from tests.support.training import quiet_arguments

SETTINGS = TaskSettings(target="drink|milk")
TARGETS = ("latte|none", "mocha|oat", "latte|oat", "tea|none")


class Doubled:
    """A collator in float64, so that sums in another order are equal."""

    def __init__(self, collator: SpeechCollator) -> None:
        self.collator = collator

    def __call__(self, items: list[dict[str, object]]) -> dict[str, torch.Tensor]:
        batch = self.collator(items)
        return {**batch, "input_values": batch["input_values"].double()}


def clips_of(*targets: str) -> tuple[Clip, ...]:
    generator = np.random.default_rng(0)
    return tuple(
        Clip(Path(f"{index}.wav"), target, 0.5, samples=generator.standard_normal(8_000).astype(np.float32))
        for index, target in enumerate(targets)
    )


def folder_of(*targets: str) -> SpeechFolder:
    return SpeechFolder(Path("orders"), {"train": clips_of(*targets)}, ())


def test_each_slot_has_a_segment() -> None:
    task = Slots.from_folder(folder_of(*TARGETS), settings=SETTINGS)
    assert task.labels == ("drink=latte", "drink=mocha", "drink=tea", "milk=none", "milk=oat")
    assert task.segments == {"drink": slice(0, 3), "milk": slice(3, 5)}
    assert [task.encode(target) for target in TARGETS] == [[0, 0], [1, 1], [0, 1], [2, 0]]
    assert task.encode_judged("cocoa|oat") == [IGNORED, 1]
    with pytest.raises(DataError, match=r"'cocoa\|oat' has a value that train does not have"):
        task.encode("cocoa|oat")
    model = task.with_head(tiny_model())
    assert model.config.num_labels == 5
    again = Slots.from_folder(folder_of(*TARGETS), model, SETTINGS)
    assert again == task
    assert again.has_head(model)


@pytest.mark.parametrize("labels", [("a", "b"), ("a=1", "b=1", "a=2")])
def test_labels_that_are_no_slots_are_refused(labels: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="slot by slot"):
        Slots(labels)


def test_slots_must_be_named() -> None:
    with pytest.raises(DataError, match=r"set data\.target"):
        Slots.from_folder(folder_of(*TARGETS))


def test_the_loss_sums_the_slots_and_ignores_new_values() -> None:
    task = Slots.from_folder(folder_of(*TARGETS), settings=SETTINGS)
    logits = torch.randn(3, 5, dtype=torch.float64)
    labels = torch.tensor([[0, 1], [2, IGNORED], [1, 0]])
    drink = cross_entropy(logits[:, :3], labels[:, 0])
    milk = cross_entropy(logits[[0, 2], 3:], labels[[0, 2], 1])
    loss = task.loss_function()
    torch.testing.assert_close(loss({"logits": logits}, labels), drink + milk, rtol=0, atol=1e-12)
    nothing = loss({"logits": logits}, torch.full((3, 2), IGNORED))
    assert nothing == 0
    unsaid = loss({"logits": logits}, torch.tensor([[0, IGNORED]] * 3))
    assert torch.isfinite(unsaid)


def test_metrics_count_slots_and_whole_clips() -> None:
    task = Slots.from_folder(folder_of(*TARGETS), settings=SETTINGS)
    clips = clips_of("latte|none", "mocha|oat", "cocoa|oat")
    rows = [[0, 3], [1, 3], [1, 4]]  # right; milk missed; drink wrong as cocoa is new
    logits = np.zeros((3, 5))
    for index, row in enumerate(rows):
        logits[index, row] = 1.0
    found = task.judge(clips, tiny_model())(EvalPrediction((logits, "hidden"), None))
    # Said: 5 slots; found: latte, mocha, mocha, oat; right: latte, mocha, oat.
    assert found["f1"] == 2 * 3 / (4 + 5)
    assert found["accuracy"] == 1 / 3
    assert found["drink_accuracy"] == found["milk_accuracy"] == 2 / 3
    assert found["f1_low"] <= found["f1"] <= found["f1_high"]
    folder = SpeechFolder(Path("orders"), {"train": clips_of(*TARGETS), "test": clips}, ())
    assert list(task.check(folder, tiny_model())) == [
        "test: 1 of 3 clips have a value that train does not have"
    ]


@pytest.mark.parametrize("own_loss", [True, False])
def test_accumulated_batches_give_the_step_of_one_batch(tmp_path: Path, own_loss: bool) -> None:
    clips = clips_of(*TARGETS)
    task = Slots.from_folder(folder_of(*TARGETS), settings=SETTINGS)
    weights = []
    for batch, accumulation in ((4, 1), (1, 4)):
        torch.manual_seed(0)
        quiet = dict.fromkeys(("hidden_dropout", "feat_proj_dropout", "attention_dropout"), 0.0)
        model = task.with_head(tiny_model(activation_dropout=0.0, **quiet)).double()
        encode = task.encode if own_loss else (lambda target: TARGETS.index(target))
        trainer = SpeechTrainer(
            model=model,
            args=quiet_arguments(
                tmp_path,
                max_steps=1,
                learning_rate=0.1,
                optim="sgd",
                max_grad_norm=0.0,
                lr_scheduler_type="constant",
                per_device_train_batch_size=batch,
                gradient_accumulation_steps=accumulation,
            ),
            train_dataset=ClipDataset(clips, encode),
            data_collator=Doubled(task.collator()),
            compute_loss_func=task.loss_function() if own_loss else None,
        )
        trainer.train()
        weights.append(model.classifier.weight.detach().clone())
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=1e-9)


def test_a_trainer_learns_two_slots_at_once(tmp_path: Path) -> None:
    """Pitch is one slot, loudness of a second tone the other; all four combinations are there."""
    time = np.arange(4_800) / 16_000
    clips = []
    for index in range(8):
        high, both = index % 2, index // 2 % 2
        wave = np.sin(2 * np.pi * (1_500 if high else 250) * time + index)
        wave = wave + both * np.sin(2 * np.pi * 5_000 * time)
        target = f"{'high' if high else 'low'}|{'tone' if both else 'none'}"
        clips.append(Clip(Path(f"{index}.wav"), target, 0.3, samples=wave.astype(np.float32)))
    folder = SpeechFolder(Path("tones"), {"train": tuple(clips)}, ())
    task = Slots.from_folder(folder, settings=TaskSettings(target="pitch|second"))
    model = task.with_head(tiny_model(hidden_dropout=0.0, feat_proj_dropout=0.0, final_dropout=0.0))
    dataset = ClipDataset(clips, task.encode)
    trainer = SpeechTrainer(
        model=model,
        args=quiet_arguments(tmp_path, max_steps=60, learning_rate=5e-3, per_device_train_batch_size=8),
        train_dataset=dataset,
        eval_dataset=dataset,
        data_collator=task.collator(),
        compute_metrics=task.judge(clips, model),
        compute_loss_func=task.loss_function(),
        preprocess_logits_for_metrics=task.slim,
    )
    trainer.train()
    result = trainer.evaluate()
    assert (result["eval_f1"], result["eval_accuracy"]) == (1.0, 1.0)
    assert result["eval_loss"] < 0.5
