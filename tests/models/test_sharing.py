"""Layers that reuse the attention map of the layer below, and frontends without a projection."""

import copy

import pytest
import torch

from prune_ssl.errors import ModelError
from prune_ssl.models.registry import FAMILIES
from prune_ssl.models.sharing import BareFeatureProjection, leave_out_projection_, share_maps_
from tests.support.models import batch, first_output, relative_difference, tiny_model


def attentions(model) -> list[torch.nn.Module]:
    return [layer.attention for layer in model.encoder.layers]


def test_a_reusing_layer_weighs_its_values_with_the_map_below() -> None:
    model = tiny_model("hubert", "Model")
    model.set_attn_implementation("eager")
    maps = copy.deepcopy(model)(**batch(model, 4000), output_attentions=True).attentions
    share_maps_(attentions(model), [1, 2])
    torch.manual_seed(0)
    inputs = batch(model, 4000, padded=True)
    found = model(**inputs, output_attentions=True).attentions
    assert len(found) == len(maps) == 3
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    names = [name for name, _ in model.named_parameters() if "layers.1.attention" in name]
    assert not any("q_proj" in name or "k_proj" in name for name in names)
    assert any("v_proj" in name for name in names)


def test_a_layer_that_makes_its_map_computes_what_it_did() -> None:
    model = tiny_model("hubert", "Model")
    inputs = batch(model, 4000, padded=True)
    wanted = model(**inputs, output_hidden_states=True).hidden_states[1].detach()
    share_maps_(attentions(model), [1])
    found = model(**inputs, output_hidden_states=True).hidden_states
    assert relative_difference(found[1].detach(), wanted) < 1e-5
    assert all(each.given is None for each in attentions(model)[:1])  # no map outlives the step


def test_maps_are_given_on_once() -> None:
    model = tiny_model("hubert", "Model")
    share_maps_(attentions(model), [1])
    with pytest.raises(ModelError, match="the layers ran out of order"):
        attentions(model)[1](torch.randn(1, 5, 16))


@pytest.mark.parametrize("reusing", [[0], [3], [-1], [1, 7]])
def test_a_layer_without_one_below_cannot_reuse(reusing: list[int]) -> None:
    with pytest.raises(ModelError, match="cannot reuse a map: wanted indices 1 to 2"):
        share_maps_(attentions(tiny_model("hubert", "Model")), reusing)


def test_what_is_gone_or_of_another_kind_cannot_share() -> None:
    blocks = attentions(tiny_model("hubert", "Model"))
    with pytest.raises(ModelError, match="layer 1 is gone"):
        share_maps_([blocks[0], None, blocks[2]], [2])
    with pytest.raises(ModelError, match="not an attention of four Linears"):
        share_maps_(attentions(tiny_model("wavlm", "Model")), [1])
    blocks[0].num_heads = 2
    with pytest.raises(ModelError, match="has 4 heads and the one below 2"):
        share_maps_(blocks, [1])


@pytest.mark.parametrize("family", ["hubert", "wav2vec2"])
def test_without_its_projection_a_frontend_gives_the_normed_features(family: str) -> None:
    model = tiny_model(family, "Model", hidden_size=16, conv_dim=(12, 10, 8, 12, 9, 8, 16))
    identity = model.feature_projection.projection
    with torch.no_grad():
        identity.weight.copy_(torch.eye(16))
        identity.bias.zero_()
    inputs = batch(model, 4000)
    wanted = first_output(model, **inputs)
    leave_out_projection_(model, FAMILIES[family])
    assert isinstance(model.feature_projection, BareFeatureProjection)
    assert relative_difference(first_output(model, **inputs), wanted) < 1e-6
    assert not any("projection.projection" in name for name in model.state_dict())


def test_a_projection_between_two_widths_cannot_be_left_out() -> None:
    with pytest.raises(ModelError, match="maps 10 to 16 channels and cannot be left out"):
        leave_out_projection_(tiny_model("hubert", "Model"), FAMILIES["hubert"])
