"""What a task is by default, and settings that are refused when they are made."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForAudioClassification, Wav2Vec2FeatureExtractor

from prune_ssl.errors import RecipeError
from prune_ssl.tasks.task import Task, TaskSettings, TaskSpec


class Pitch(Task):
    """The least task: four methods."""

    spec = TaskSpec(name="pitch", metric="accuracy", auto_class=AutoModelForAudioClassification)

    @classmethod
    def from_folder(cls, folder, model=None, settings=None):
        return cls()

    @property
    def head(self):
        raise NotImplementedError

    def encode(self, target):
        return int(target)

    def judge(self, clips, model):
        return None


def test_a_task_without_its_four_methods_cannot_be_made() -> None:
    class Half(Task):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Half()
    Pitch()


def test_by_default_a_judged_clip_is_encoded_as_one_of_train() -> None:
    task = Pitch()
    assert task.encode_judged("3") == task.encode("3") == 3


def test_by_default_the_models_own_loss_over_one_softmax_counts() -> None:
    task = Pitch()
    assert task.logit_groups is None
    assert task.loss_function() is None
    assert list(task.check(None, None)) == []
    assert (task.spec.target, task.spec.greater_is_better) == ("label", True)


def test_the_extractor_is_what_is_saved_and_what_makes_batches() -> None:
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True)
    task = Pitch()
    assert task.processor(extractor) is extractor
    items = [{"input_values": np.ones(500, dtype=np.float32), "labels": 1}]
    assert "attention_mask" in task.collator(extractor)(items)
    assert "attention_mask" not in task.collator(extractor, attention_mask=False)(items)
    assert task.collator()(items)["labels"].tolist() == [1]


@pytest.mark.parametrize("kind", [tuple, list])
def test_judging_keeps_the_logits_of_a_batch_only(kind) -> None:
    logits, states = torch.ones(2, 3), torch.zeros(2, 7, 4)
    assert Pitch().slim(kind((logits, states)), None) is logits
    assert Pitch().slim(logits, None) is logits


@pytest.mark.parametrize(
    "wrong",
    [
        {"target": 3},
        {"weights": ("a",)},
        {"crop_seconds": "1"},
        {"speed": None},
        {"trials": 1.5},
        {"judged": ["test"]},
        {"decoding": "beam"},
    ],
    ids=str,
)
def test_a_setting_of_another_type_is_refused_when_it_is_made(wrong: dict[str, object]) -> None:
    (name,) = wrong
    with pytest.raises(RecipeError, match=name):
        TaskSettings(**wrong)  # type: ignore[arg-type]
    assert TaskSettings(target="label", weights=(1.0, 2.0), crop_seconds=1.5).speed == 1.0
