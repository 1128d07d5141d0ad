"""What a class and a config say of a model's tensors, without memory and without random numbers."""

import pytest
import torch
from transformers import HubertConfig, HubertModel

from prune_ssl.errors import ModelError
from prune_ssl.models.skeleton import (
    backbone_prefix,
    buffer_names,
    build_on_meta,
    differences,
    parted,
    shapes_of,
)
from tests.support.models import tiny_model


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_a_model_on_meta_has_the_shapes_of_the_real_one(norm: str) -> None:
    model = tiny_model(norm=norm)
    state = torch.random.get_rng_state()
    empty = build_on_meta(type(model), model.config)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert {value.device.type for value in empty.parameters()} == {"meta"}
    assert shapes_of(empty) == shapes_of(model)
    assert empty.config is not model.config


def test_a_config_that_makes_no_model_is_one_line() -> None:
    config = HubertConfig(hidden_size=16, num_attention_heads=3, num_hidden_layers=1)
    with pytest.raises(ModelError, match="HubertModel cannot be built from its config") as caught:
        build_on_meta(HubertModel, config)
    assert "\n" not in str(caught.value)


def test_a_model_with_a_head_is_parted_at_the_prefix() -> None:
    model = tiny_model()
    prefix = backbone_prefix(type(model))
    assert prefix == "hubert."
    parts = parted(shapes_of(model), prefix, ())
    assert parts.backbone == shapes_of(model.hubert)
    assert set(parts.head) == {name for name in shapes_of(model) if not name.startswith("hubert.")}
    assert parts.head


def test_a_bare_checkpoint_with_more_is_parted_by_what_a_bare_model_has() -> None:
    bare = shapes_of(tiny_model("hubert", "Model"))
    more = {"decoder.weight": (3, 16), "project_q.bias": (4,)}
    parts = parted(bare | more, "hubert.", bare)
    assert parts.backbone == bare
    assert parts.head == more


def test_layers_beyond_the_config_are_still_of_the_backbone() -> None:
    bare = shapes_of(tiny_model("hubert", "Model"))
    beyond = {"encoder.layers.9.attention.k_proj.weight": (16, 16)}
    assert parted(bare | beyond, "", bare).backbone == bare | beyond


def test_differences_are_named_one_by_one() -> None:
    wanted = {"a": (2, 3), "b": (4,), "c": (1,), "d": (5,)}
    found = {"a": (2, 3), "b": (9,), "e": (7,)}
    assert differences(wanted, wanted) == []
    assert differences(found, wanted, optional=("d",)) == [
        "b: found shape [9], wanted [4]",
        "c [1] is missing",
        "e is left over",
    ]


def test_buffers_are_told_from_parameters() -> None:
    model = tiny_model()
    before = buffer_names(model)
    model.register_buffer("seen", torch.zeros(1))
    assert buffer_names(model) - before == {"seen"}
    assert not any(name in before for name, _ in model.named_parameters())
