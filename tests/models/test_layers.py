"""Changes of one encoder layer: what it states of itself, and what stands in an emptied block's place."""

import copy

import pytest
import torch
from torch import nn

from prune_ssl.models.empty import BiasOnly, RemovedLayer
from prune_ssl.models.layers import (
    empty_attention,
    empty_feed_forward,
    is_alive,
    remove_layer,
    scale_last_convolution_,
    state_heads,
    stated_size,
    submodule_or_none,
    what_is_left,
)
from prune_ssl.models.registry import FAMILIES
from tests.support.models import batch, first_output, relative_difference, tiny_model

HUBERT = FAMILIES["hubert"]


def test_a_submodule_is_found_or_it_is_none() -> None:
    model = tiny_model("hubert", "Model")
    assert submodule_or_none(model, "encoder.layers.1.attention") is model.encoder.layers[1].attention
    for path in ("encoder.layers.9", "encoder.gone.attention", "config"):
        assert submodule_or_none(model, path) is None


@pytest.mark.parametrize("family", ["hubert", "wavlm", "sew-d", "wav2vec2-conformer", "data2vec-audio"])
def test_an_attention_states_its_sizes_and_can_be_told_others(family: str) -> None:
    roles = FAMILIES[family].attention
    model = tiny_model(family, "Model")
    attention = FAMILIES[family].layers(model)[0].get_submodule(roles.path)
    assert stated_size(attention, roles.head_count) == 4
    assert stated_size(attention, roles.head_size) == 4
    state_heads(attention, roles, 2, 3)
    assert stated_size(attention, roles.head_size) == 3
    assert stated_size(attention, roles.head_count) == 2


@pytest.mark.parametrize("keep_bias", [True, False])
def test_an_emptied_attention_is_the_one_whose_heads_are_zero(keep_bias: bool) -> None:
    model = tiny_model("hubert", "Model").double()
    inputs = batch(model, 4000)
    layer, zero = model.encoder.layers[1], copy.deepcopy(model)
    output = zero.encoder.layers[1].attention.out_proj
    with torch.no_grad():
        output.weight.zero_()
        if not keep_bias:
            output.bias.zero_()
    assert is_alive(layer, HUBERT.attention)
    bias = layer.attention.out_proj.bias
    empty_attention(layer, HUBERT.attention, model.config, keep_bias)
    assert not is_alive(layer, HUBERT.attention)
    assert relative_difference(first_output(model, **inputs), first_output(zero, **inputs)) < 1e-12
    assert any(each is bias for each in model.parameters()) == keep_bias


@pytest.mark.parametrize("keep_bias", [True, False])
def test_an_emptied_feed_forward_is_the_one_whose_neurons_are_zero(keep_bias: bool) -> None:
    model = tiny_model("hubert", "Model").double()
    inputs, zero = batch(model, 4000), copy.deepcopy(model)
    output = zero.encoder.layers[2].feed_forward.output_dense
    with torch.no_grad():
        output.weight.zero_()
        if not keep_bias:
            output.bias.zero_()
    empty_feed_forward(model.encoder.layers[2], HUBERT.ffns[0], keep_bias)
    assert relative_difference(first_output(model, **inputs), first_output(zero, **inputs)) < 1e-12
    assert sum(value.numel() for value in model.parameters()) < sum(v.numel() for v in zero.parameters())


def test_a_removed_layer_passes_on_and_keeps_its_hidden_state() -> None:
    model = tiny_model("hubert", "Model").train()
    remove_layer(model, HUBERT, 1)
    assert isinstance(model.encoder.layers[1], RemovedLayer)
    assert model.encoder.layers[1].training
    model.eval()
    states = model(**batch(model, 4000), output_hidden_states=True).hidden_states
    assert len(states) == 4
    assert torch.equal(states[1], states[2])
    assert not torch.equal(states[2], states[3])


def test_the_first_layer_of_wavlm_leaves_its_position_bias() -> None:
    model = tiny_model("wavlm", "Model")
    table = model.encoder.layers[0].attention.rel_attn_embed.weight
    remove_layer(model, FAMILIES["wavlm"], 0)
    assert any(each is table for each in model.parameters())
    assert sum(value.numel() for value in model.encoder.layers[0].parameters()) == table.numel()


def test_what_is_left_of_a_linear_is_its_own_bias() -> None:
    linear = nn.Linear(3, 4)
    assert what_is_left(linear, keep_bias=True).bias is linear.bias
    assert what_is_left(linear, keep_bias=False).bias is None
    assert what_is_left(nn.Linear(3, 4, bias=False), keep_bias=True).bias is None
    again = what_is_left(BiasOnly(5), keep_bias=True)
    assert again.size == 5


def test_factors_of_the_frontend_scale_its_last_channels() -> None:
    model = tiny_model("hubert", "Model").double()
    inputs = batch(model, 4000)
    with torch.no_grad():
        before = model.feature_extractor(inputs["input_values"])
    scale_last_convolution_(model, HUBERT)
    factors = model.feature_extractor.conv_layers[-1].activation[1].double()
    with torch.no_grad():
        found = model.feature_extractor(inputs["input_values"])
    wanted = before * factors.weight.detach().view(1, -1, 1)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
