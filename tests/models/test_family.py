"""What a family says of its architecture holds on its models: every path that it names is there."""

import pytest
from torch import nn

from prune_ssl.models.family import AttentionRoles, Family, stock_class
from prune_ssl.models.registry import FAMILIES, backbone_of
from tests.support.models import HEADS, tiny_model

BACKBONES = {name: backbone_of(tiny_model(name, HEADS[name][0]))[1] for name in HEADS if HEADS[name]}


@pytest.mark.parametrize("name", BACKBONES)
def test_layers_and_convolutions_are_where_the_family_says(name: str) -> None:
    family, backbone = FAMILIES[name], BACKBONES[name]
    layers = family.layers(backbone)
    assert len(layers) == 3
    assert [backbone.get_submodule(family.layer_path(index)) for index in range(3)] == layers
    convs = family.convs(backbone)
    assert len(convs) in (0, 2, 7)
    assert bool(convs) == bool(family.conv)
    assert all(isinstance(backbone.get_submodule(path), nn.Conv1d) for path in convs)
    assert all(backbone.get_submodule(path) for path in family.position_convs_of(backbone))


@pytest.mark.parametrize("name", BACKBONES)
def test_the_linears_of_each_layer_are_where_the_family_says(name: str) -> None:
    family, backbone = FAMILIES[name], BACKBONES[name]
    for layer in family.layers(backbone):
        block = layer.get_submodule(family.attention.path)
        for path in (*family.attention.projections, family.attention.output):
            assert isinstance(block.get_submodule(path), nn.Linear)
        for weight in family.attention.input_weights:
            assert block.get_parameter(weight).shape[0] == 16
        for roles in family.ffns:
            first, second = layer.get_submodule(roles.first), layer.get_submodule(roles.second)
            assert (first.out_features, second.in_features) == (24, 24)
        if family.convolution is not None:
            module = layer.get_submodule(family.convolution.path)
            assert isinstance(module.get_submodule(family.convolution.depthwise), nn.Conv1d)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_parameter_of_a_backbone_has_a_section(name: str) -> None:
    family, backbone = FAMILIES[name], BACKBONES[name]
    sections = {path: family.section(path) for path, _ in backbone.named_parameters()}
    assert "head" not in {section for path, section in sections.items() if not path.startswith("masked")}
    assert {section for path, section in sections.items() if path.startswith(f"{family.layers_path}.")} == {
        "encoder"
    }
    assert family.section("classifier.weight") == "head"


@pytest.mark.parametrize("name", [name for name in BACKBONES if FAMILIES[name].classes])
def test_stock_classes_are_those_of_transformers(name: str) -> None:
    family = FAMILIES[name]
    assert family.stock("config").model_type == name
    assert family.stock("bare").config_class is family.stock("config")
    assert family.classes.models[0] == (family.classes.bare, "AutoModel")


def test_a_class_that_transformers_lacks_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        stock_class("HubertForDreams")
    assert stock_class("models.hubert.modeling_hubert.HubertModel") is stock_class("HubertModel")


def test_the_first_section_that_matches_wins() -> None:
    sections = (("encoder.pos", "position"), ("encoder", "encoder"))
    family = Family(name="x", layer="encoder.layers.{i}", sections=sections)
    assert family.section("encoder.pos_conv.weight") == "position"
    assert family.section("encoder.layers.0.weight") == "encoder"
    assert (family.layers_path, family.layer_path(4)) == ("encoder.layers", "encoder.layers.4")
    assert AttentionRoles(fused="attention").input_weights == ("attention.in_proj_weight",)
    assert AttentionRoles().kind(object()) == ""
