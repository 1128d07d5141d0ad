"""Training without labels: a bare model, no label in a batch, and the loss is the judgement."""

from pathlib import Path

import pytest
import torch
from transformers import HubertModel

from prune_ssl.data import Clip, SpeechFolder
from prune_ssl.models.origin import origin_of
from prune_ssl.tasks import TASKS
from prune_ssl.tasks.representation import NoHead, Representation
from tests.support.models import tiny_model

FOLDER = SpeechFolder(Path("speech"), {"train": (Clip(Path("a.wav"), "", 0.1),)}, ())


def test_any_folder_of_speech_will_do() -> None:
    task = Representation.from_folder(FOLDER)
    assert task == Representation.from_folder(FOLDER, tiny_model())
    assert task.encode("whatever") is None
    assert task.judge(FOLDER.splits["train"], tiny_model()) is None
    assert TASKS["representation"] is Representation
    assert (task.spec.metric, task.spec.greater_is_better) == ("loss", False)


@pytest.mark.parametrize("head", ["ForCTC", "ForSequenceClassification"])
def test_a_head_is_dropped_and_said_to_be(head: str) -> None:
    model, none = tiny_model("hubert", head), NoHead()
    assert none.fits(model)
    assert none.note(model).startswith("dropped (")
    weights = {name: value.clone() for name, value in model.hubert.state_dict().items()}
    bare = none.put_on(model)
    assert type(bare) is HubertModel
    assert bare is model.hubert
    assert all(torch.equal(value, weights[name]) for name, value in bare.state_dict().items())


def test_a_bare_model_stays_as_it_is() -> None:
    model, none = tiny_model("hubert", "Model"), NoHead()
    assert none.note(model) == "none"
    assert none.put_on(model) is model
    assert none.config == {}


def test_the_origin_of_the_model_is_handed_on() -> None:
    model = tiny_model("hubert", "ForCTC")
    bare = NoHead().put_on(model)
    assert origin_of(bare) == origin_of(model)
