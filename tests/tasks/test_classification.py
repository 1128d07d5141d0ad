"""Classification: its labels, its head, its metrics and a plain Trainer that learns with it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    EvalPrediction,
    HubertConfig,
    HubertForCTC,
    HubertForSequenceClassification,
    HubertModel,
    Trainer,
)

from prune_ssl.data import Clip, ClipDataset, SpeechFolder
from prune_ssl.errors import DataError
from prune_ssl.tasks import (
    Accuracy,
    Classification,
    classification_metrics,
)
from tests.support.models import tiny_model
from tests.support.training import quiet_arguments


def tiny_config(**overrides: object) -> HubertConfig:
    shape = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "conv_dim": (8, 8, 8),
        "conv_kernel": (10, 3, 3),
        "conv_stride": (5, 2, 2),
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 2,
        "classifier_proj_size": 8,
        "apply_spec_augment": False,
        "vocab_size": 12,
    }
    return HubertConfig(**{**shape, **overrides})


def clips_of(*labels: str) -> tuple[Clip, ...]:
    generator = np.random.default_rng(0)
    return tuple(
        Clip(Path(f"{index}.wav"), label, 0.1, samples=generator.standard_normal(1_600).astype(np.float32))
        for index, label in enumerate(labels)
    )


def folder_of(*labels: str) -> SpeechFolder:
    return SpeechFolder(Path("words"), {"train": clips_of(*labels)}, ())


def test_labels_are_those_of_train_sorted_without_doubles() -> None:
    task = Classification.from_folder(folder_of("stop", "go", "stop", "left"))
    assert task.labels == ("go", "left", "stop")
    assert [task.encode(label) for label in task.labels] == [0, 1, 2]
    assert task.head.config == {
        "num_labels": 3,
        "id2label": {0: "go", 1: "left", 2: "stop"},
        "label2id": {"go": 0, "left": 1, "stop": 2},
    }


def test_a_folder_with_one_label_is_refused() -> None:
    with pytest.raises(DataError, match="words: train has only the label 'go'"):
        Classification.from_folder(folder_of("go", "go"))


def test_the_same_label_twice_is_refused() -> None:
    with pytest.raises(DataError, match="two or more distinct labels"):
        Classification(("go", "go"))


def test_a_label_that_the_task_does_not_know_is_refused() -> None:
    with pytest.raises(DataError, match="label 'up' is not one of 'go', 'stop'"):
        Classification(("go", "stop")).encode("up")


def test_a_model_with_the_same_labels_comes_back_as_it_is() -> None:
    task = Classification(("go", "left", "stop"))
    model = HubertForSequenceClassification(tiny_config(**task.head.config))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert task.head.put_on(model) is model
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_model_with_other_labels_gets_a_new_last_layer_only() -> None:
    model = HubertForSequenceClassification(tiny_config(num_labels=2)).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    changed = Classification(("go", "left", "stop")).head.put_on(model)
    assert changed is model
    assert model.config.num_labels == 3
    assert model.config.label2id == {"go": 0, "left": 1, "stop": 2}
    assert model(torch.randn(2, 1_600), labels=torch.tensor([0, 2])).logits.shape == (2, 3)
    after = model.state_dict()
    assert all(
        torch.equal(after[name], before[name]) for name in before if not name.startswith("classifier.")
    )


@pytest.mark.parametrize("kind", [HubertModel, HubertForCTC])
def test_another_model_gives_its_backbone_to_a_new_head(kind: type[torch.nn.Module]) -> None:
    model = kind(tiny_config()).eval()  # type: ignore[call-arg]
    backbone = model.base_model
    made = Classification(("go", "left", "stop")).head.put_on(model)  # type: ignore[arg-type]
    assert isinstance(made, HubertForSequenceClassification)
    assert made.hubert is backbone
    assert not made.training
    assert made.config.id2label == {0: "go", 1: "left", 2: "stop"}
    # One config object throughout: a later change of it must reach every layer.
    assert {id(module.config) for module in made.modules() if hasattr(module, "config")} == {id(made.config)}
    assert made(torch.randn(2, 1_600)).logits.shape == (2, 3)


def test_accuracy_is_the_fraction_of_right_answers() -> None:
    assert Accuracy().compute(predictions=[0, 1, 2, 1], references=[0, 1, 1, 1]) == {"accuracy": 0.75}
    metric = Accuracy()
    metric.add_batch(predictions=[0, 1], references=[0, 0])
    metric.add_batch(predictions=[2, 2], references=[2, 2])
    assert metric.compute() == {"accuracy": 0.75}


def test_accuracy_needs_no_network_and_no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setenv("HOME", str(tmp_path / "no_home"))
    assert Accuracy().compute(predictions=[1], references=[1]) == {"accuracy": 1.0}
    assert not (tmp_path / "no_home").exists()


def test_metrics_of_logits() -> None:
    logits = np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0], [0.0, 9.0]])
    labels = np.array([0, 1, 1, 1])
    metrics = classification_metrics(EvalPrediction((logits, "hidden"), labels))
    assert metrics["accuracy"] == 0.75
    assert metrics["clips"] == 4
    assert 0 <= metrics["accuracy_low"] < 0.75 < metrics["accuracy_high"] <= 1


def test_metrics_of_nothing_are_refused() -> None:
    with pytest.raises(DataError, match=r"logits \(0, 2\) and labels \(0,\)"):
        classification_metrics(EvalPrediction(np.zeros((0, 2)), np.zeros(0)))


def test_a_plain_trainer_learns_and_judges_with_the_task(tmp_path: Path) -> None:
    torch.manual_seed(0)
    time = np.arange(1_600) / 16_000
    clips = tuple(
        Clip(Path(f"{i}.wav"), label, 0.1, samples=np.sin(2 * np.pi * hz * time + i).astype(np.float32))
        for i in range(8)
        for label, hz in (("low", 200), ("high", 2_000))
    )
    folder = SpeechFolder(Path("tones"), {"train": clips}, ())
    task = Classification.from_folder(folder)
    model = task.head.put_on(HubertModel(tiny_config()))
    dataset = ClipDataset(clips, task.encode)
    arguments = quiet_arguments(
        tmp_path / "out", max_steps=30, per_device_train_batch_size=8, learning_rate=1e-2
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        eval_dataset=dataset,
        data_collator=task.collator(),
        compute_metrics=task.judge(clips, model),
    )
    trainer.train()
    assert trainer.evaluate()["eval_accuracy"] == 1.0


def test_labels_follow_the_order_of_a_head_that_has_the_same_ones():
    labels = {0: "stop", 1: "go", 2: "left"}
    model = tiny_model(num_labels=3, id2label=labels, label2id={v: k for k, v in labels.items()})
    task = Classification.from_folder(folder_of("go", "stop", "left"), model)
    assert task.labels == ("stop", "go", "left")
    assert task.head.fits(model)
    classifier = model.classifier
    assert task.head.put_on(model).classifier is classifier
    other = Classification.from_folder(folder_of("go", "stop"), model)
    assert other.labels == ("go", "stop")
    assert not other.head.fits(model)
