"""Joint keywords and speakers: heads, losses, metrics, and a model that learns both."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import EvalPrediction

import prune_ssl
from prune_ssl.data import ClipDataset
from prune_ssl.errors import DataError, ModelError
from prune_ssl.pipeline.preparation import copy_of
from prune_ssl.tasks import Joint
from prune_ssl.tasks.joint_loss import am_softmax
from prune_ssl.tasks.verification import cosines
from prune_ssl.tasks.verification_metrics import equal_error_rate
from prune_ssl.training import SpeechTrainer
from tests.support.joint import FOLDER, SETTINGS, TEST, TRAIN, small_model
from tests.support.models import tiny_model
from tests.support.training import quiet_arguments


def test_the_head_is_a_stock_one_with_a_segment_per_column() -> None:
    task = Joint.from_folder(FOLDER, settings=SETTINGS)
    assert task.labels == ("label=no", "label=yes", "speaker=ann", "speaker=bob")
    assert task.encode("yes|ann") == [1, 0]
    model = task.head.put_on(small_model())
    assert type(model).__name__ == "Wav2Vec2ForXVector"
    assert task.head.fits(model)
    assert task.head.put_on(model) is model
    other = replace(task, labels=("label=a", "label=b", "speaker=c", "speaker=d"))
    assert not other.head.fits(model)
    kept = model.feature_extractor.weight.clone()
    old = model.classifier.weight.clone()
    again = other.head.put_on(model)
    assert torch.equal(again.feature_extractor.weight, kept)
    assert not torch.equal(again.classifier.weight, old)
    more = replace(task, labels=("label=a", "label=b", "speaker=c", "speaker=d", "speaker=e")).head.put_on(
        model
    )
    assert more.objective.weight.shape[1] == 5
    assert copy_of(more).state_dict().keys() == more.state_dict().keys(), "as a teacher has it"
    many = Joint((*(f"label={index}" for index in range(30)), "speaker=a"))
    with pytest.raises(ModelError, match="has 16 outputs, 31 wanted"):
        many.head.put_on(model)
    assert many.head.put_on(small_model()).config.xvector_output_dim == 31


@pytest.mark.parametrize(
    ("labels", "weights", "words"),
    [
        (("label=a", "label=b"), (), "wanted the column 'speaker'"),
        (("label=a", "speaker=b"), (1.0,), "a positive weight for each"),
        (("label=a", "speaker=b"), (1.0, 0.0), "a positive weight for each"),
    ],
)
def test_what_is_not_joint_is_refused(
    labels: tuple[str, ...], weights: tuple[float, ...], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        Joint(labels, weights=weights)


def test_the_loss_weighs_the_columns() -> None:
    task = Joint.from_folder(FOLDER, settings=SETTINGS)
    logits, labels = torch.randn(4, 16, dtype=torch.float64), torch.tensor([[0, 1], [1, 1], [1, 0], [0, 0]])
    wanted = cross_entropy(logits[:, :2], labels[:, 0]) + 0.5 * cross_entropy(logits[:, 2:4], labels[:, 1])
    found = task.loss_function()({"logits": logits}, labels)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_both_tasks_are_judged() -> None:
    task, model = Joint.from_folder(FOLDER, settings=SETTINGS), tiny_model("wav2vec2", "ForXVector")
    generator = np.random.default_rng(0)
    logits = 0.01 * generator.standard_normal((8, 16))
    for index, clip in enumerate(TEST):
        logits[index, int(clip.target.startswith("yes"))] = 1.0
    logits[0, :2] = (0.0, 2.0)  # one keyword wrong
    found = task.judge(TEST, model)(EvalPrediction((logits, "embeddings"), None))
    assert found["accuracy"] == 7 / 8
    pairs = np.array([(i, j) for i in range(8) for j in range(i + 1, 8)])
    same = [TEST[i].speaker == TEST[j].speaker for i, j in pairs]
    speakers = logits[:, 2:4] - logits[:, 2:4].mean(axis=1, keepdims=True)
    assert found["eer"] == equal_error_rate(cosines(speakers, pairs), same)
    assert found["eer_low"] <= found["eer"] <= found["eer_high"]
    assert list(task.check(FOLDER, model)) == [
        "test: 28 trials (all pairs), 12 of them of one speaker",
        "test: 2 of its speakers are in train too",
    ]


@pytest.mark.slow
def test_one_encoder_learns_both_and_is_cut(tmp_path: Path) -> None:
    task = Joint.from_folder(FOLDER, settings=SETTINGS)
    model = task.head.put_on(small_model())
    trainer = SpeechTrainer(
        model=model,
        args=quiet_arguments(tmp_path, max_steps=80, learning_rate=3e-3, per_device_train_batch_size=8),
        train_dataset=ClipDataset(TRAIN, task.encode),
        eval_dataset=ClipDataset(TEST, task.encode_judged),
        data_collator=task.collator(),
        compute_metrics=task.judge(TEST, model),
        compute_loss_func=task.loss_function(),
        preprocess_logits_for_metrics=task.slim,
    )
    trainer.train()
    result = trainer.evaluate()
    assert result["eval_accuracy"] == 1.0
    assert result["eval_eer"] <= 0.1
    graph = prune_ssl.trace(model)
    small = prune_ssl.resize(model, graph, prune_ssl.select(model, graph, "macs=80%", round_to=1))
    prune_ssl.save_pretrained(small, tmp_path / "model")
    loaded = prune_ssl.load_pretrained(tmp_path / "model")
    assert task.head.fits(loaded)
    waves = torch.from_numpy(np.stack([clip.waveform() for clip in TEST[:2]]))
    with torch.no_grad():
        assert torch.equal(loaded(waves).embeddings, small.eval()(waves).embeddings)


def test_am_softmax_of_speakers_is_its_formula_and_has_the_geometry_of_the_trials() -> None:
    torch.manual_seed(0)
    outputs, speakers = torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 3, 1, 2, 0])
    axes = torch.eye(4, dtype=torch.float64) - 1 / 4
    wanted = []
    for row, speaker in zip(outputs, speakers, strict=True):
        scores = 30 * torch.nn.functional.cosine_similarity(row - row.mean(), axes, dim=1)
        scores[speaker] -= 30 * 0.2
        wanted.append(scores.logsumexp(0) - scores[speaker])
    found = am_softmax(outputs, speakers, 0.2)
    torch.testing.assert_close(found, torch.stack(wanted).mean(), rtol=1e-12, atol=0)
    assert found > am_softmax(outputs, speakers, 0.0)
    torch.testing.assert_close(am_softmax(7 * outputs + 3, speakers, 0.2), found)


def test_a_joint_task_with_a_margin_weighs_both_losses_and_leaves_blanks_out() -> None:
    task = replace(Joint.from_folder(FOLDER, settings=SETTINGS), margin=0.3)
    logits = torch.randn(3, 16, dtype=torch.float64)
    labels = torch.tensor([task.encode(each) for each in ("no|ann", "yes|", "|bob")])
    words = torch.nn.functional.cross_entropy(logits[:2, :2], labels[:2, 0])
    speakers = am_softmax(logits[[0, 2], 2:4], labels[[0, 2], 1], 0.3)
    loss = task.loss_function()
    torch.testing.assert_close(loss({"logits": logits}, labels), words + 0.5 * speakers)
    assert loss.margin == 0.3, "dense training raises it step by step"
    assert bool(torch.isfinite(loss({"logits": logits}, torch.full((3, 2), -100))))
