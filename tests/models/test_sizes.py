"""The law of LayerSizes: the sizes that were given to a layer are the sizes that it reads as."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prune_ssl.models.pruned import CONFIGS
from prune_ssl.models.registry import FAMILIES, backbone_of
from prune_ssl.models.sizes import LayerSizes, stated_head_size
from tests.support.models import HEADS, tiny_model

STOCK = {family: tiny_model(family, "Model") for family, heads in HEADS.items() if heads}


@st.composite
def sizes_of(draw, family):
    model, gone = STOCK[family.name], []
    if draw(st.integers(0, 9)) == 0:
        return LayerSizes(gone=("layer",))
    heads = sorted(draw(st.sets(st.integers(0, model.config.num_attention_heads - 1))))
    if not heads and draw(st.booleans()):
        gone.append("attention")
    dim = draw(st.sampled_from([None, 2, 3])) if heads else None
    neurons = {}
    for ffn in family.ffns:
        neurons[ffn.field] = draw(st.integers(0, 24))
        if not neurons[ffn.field] and draw(st.booleans()):
            gone.append(ffn.block)
    channels = draw(st.integers(0, 16)) if family.convolution is not None else None
    numbered = heads and family.attention.opened is not None
    return LayerSizes(len(heads), dim, tuple(heads) if numbered else None, neurons, channels, tuple(gone))


@pytest.mark.parametrize("name", list(STOCK))
@settings(max_examples=12)
@given(data=st.data())
def test_what_was_given_is_what_is_read(name, data):
    family = FAMILIES[name]
    sizes = data.draw(sizes_of(family))
    model = copy.deepcopy(STOCK[name])
    config = CONFIGS[name](**{k: v for k, v in model.config.to_dict().items() if k != "model_type"})
    _, backbone = backbone_of(model)
    sizes.give(backbone, family, 1, config)
    layer = backbone.get_submodule(family.layer_path(1))
    assert LayerSizes.read(layer, family, stated_head_size(config)) == sizes
    assert LayerSizes.from_config(sizes.to_config(), family) == sizes
