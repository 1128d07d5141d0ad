"""The private names of transformers that prune_ssl uses are there and mean what they should."""

import pytest
import torch
from torch import nn
from transformers import HubertModel, PreTrainedConfig
from transformers.utils.output_capturing import OutputRecorder

from prune_ssl.models.torch_internals import hooks_of
from prune_ssl.models.transformers_internals import (
    OpenModel,
    attention_of,
    can_fuse,
    checkpoint_function,
    frames_made,
    record_anew,
    state_attention,
)
from tests.support.models import batch, tiny_model


class Frugal(OpenModel, HubertModel):
    """Records one layer norm more, and runs the eager attention alone."""

    @classmethod
    def recorded(cls, stock):
        return {**stock, "norms": OutputRecorder(nn.LayerNorm)}

    def check_attention(self, asked, found):
        if found != "eager":
            raise ValueError(f"no {asked}")


def test_a_config_states_its_attention_and_other_objects_none() -> None:
    config = PreTrainedConfig()
    assert attention_of(config) is None
    state_attention(config, "sdpa")
    assert attention_of(config) == "sdpa"
    assert attention_of(None) is None


def test_stock_classes_say_whether_they_can_fuse() -> None:
    assert can_fuse(HubertModel)
    assert not can_fuse(type(tiny_model("wavlm")))


def test_an_open_model_refuses_an_attention_when_it_is_made_and_later() -> None:
    config = tiny_model("hubert", "Model").config
    state_attention(config, "sdpa")
    with pytest.raises(ValueError, match="no sdpa"):
        Frugal(config)
    state_attention(config, "eager")
    model = Frugal(config)
    assert model.chosen_attention("eager") == "eager"
    with pytest.raises(ValueError, match="no sdpa"):
        model.set_attn_implementation("sdpa")


def test_a_changed_class_is_recorded_anew() -> None:
    model = tiny_model("hubert", "Model")
    model.set_attn_implementation("eager")
    inputs = batch(model)
    stock = model(**inputs, output_attentions=True)
    hooks = [hook for module in model.modules() for hook in hooks_of(module)]
    model.__class__ = Frugal
    record_anew(model)
    assert not [hook for module in model.modules() for hook in hooks_of(module)]
    again = model(**inputs, output_attentions=True, output_norms=True)
    assert len(again.norms) == sum(isinstance(module, nn.LayerNorm) for module in model.modules())
    assert torch.equal(again.attentions[0], stock.attentions[0])
    assert hooks


def test_frames_and_checkpoint_functions_are_found() -> None:
    model = tiny_model("hubert", "ForCTC")
    with torch.no_grad():
        assert frames_made(model, 8000) == model(torch.zeros(1, 8000)).logits.shape[1]
    layer = model.hubert.encoder.layers[0]
    assert checkpoint_function(nn.Linear(1, 1)) is None
    model.activation_checkpointing_enable()
    assert checkpoint_function(layer) is not None
