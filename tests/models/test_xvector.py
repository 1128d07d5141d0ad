"""X-vector models of families that have none in transformers: theirs is wav2vec 2.0's head."""

import pytest
import torch
import transformers
from transformers import AutoConfig, AutoModelForAudioXVector, Wav2Vec2ForXVector

from prune_ssl.models.registry import FAMILIES
from prune_ssl.models.xvector import XVECTOR_CLASSES, XVECTOR_FIELDS, XVectorHead, model_class
from tests.support.models import batch, tiny_model

OURS = [
    name
    for name, family in FAMILIES.items()
    if family.classes and any(head in XVECTOR_CLASSES for head, _ in family.classes.heads)
]


def test_only_families_that_lack_one_get_one() -> None:
    assert "hubert" in OURS
    assert all(not hasattr(transformers, name) for name in XVECTOR_CLASSES)
    assert model_class("Wav2Vec2ForXVector") is Wav2Vec2ForXVector
    assert model_class("HubertForXVector") is XVECTOR_CLASSES["HubertForXVector"]
    assert model_class("HubertForDreams") is None


@pytest.mark.parametrize("family", OURS)
def test_it_embeds_clips_and_learns_from_speakers(family: str) -> None:
    model = tiny_model(family, "ForXVector", num_labels=3)
    assert isinstance(model, XVectorHead)
    inputs = batch(model, 16_000)
    outputs = model(**inputs, labels=torch.tensor([0, 2]))
    assert outputs.embeddings.shape == (2, model.config.xvector_output_dim)
    outputs.loss.backward()
    assert model.projector.weight.grad.abs().sum() > 0
    assert type(model).__doc__
    assert type(model).__module__ == "prune_ssl.models.xvector"


def test_the_head_is_that_of_wav2vec2() -> None:
    ours, theirs = tiny_model("hubert", "ForXVector"), tiny_model("wav2vec2", "ForXVector")
    shapes = [
        {
            name: tuple(value.shape)
            for name, value in model.state_dict().items()
            if not name.startswith(f"{model.base_model_prefix}.")
        }
        for model in (ours, theirs)
    ]
    assert shapes[0] == shapes[1]
    assert "wav2vec2" not in dict(ours.named_children())
    assert ours.wav2vec2 is ours.hubert


def test_missing_fields_of_the_config_have_the_usual_values() -> None:
    config = AutoConfig.for_model("hubert", hidden_size=16, num_attention_heads=2, num_hidden_layers=1)
    config.intermediate_size, config.num_conv_pos_embedding_groups = 8, 2
    with torch.device("meta"):
        model = AutoModelForAudioXVector.from_config(config)
    assert type(model) is XVECTOR_CLASSES["HubertForXVector"]
    assert model.config.tdnn_dim == XVECTOR_FIELDS["tdnn_dim"]
    assert model.config.tdnn_dim is not XVECTOR_FIELDS["tdnn_dim"]
    assert model.config.xvector_output_dim == 512
