"""What transformers records of a pruned model: maps and hidden states, None where nothing is left."""

import pytest
import torch
from transformers import AttentionInterface

from prune_ssl import load_pretrained, resize, save_pretrained, trace
from prune_ssl.distillation.students import reuse_attention
from prune_ssl.errors import ArtifactError, ModelError
from prune_ssl.models.loading import load_model
from tests.support.models import ONE_OF_EACH, a_head_of, batch, tiny_model

FAMILIES = [family for family, _, _ in ONE_OF_EACH]
GONE = ("heads", "attention", "layer")


def cut(family, head, gone, index=1):
    model = tiny_model(family, head)
    name = f"layer.{index}" if gone == "layer" else f"layer.{index}.{gone}"
    graph = trace(model)
    return model, resize(model, graph, {f"layer.{2 - 2 * index}.heads": [0, 2], name: []})


def recorded(model, inputs, implementation="eager", **more):
    if model.config._attn_implementation != implementation:
        model.set_attn_implementation(implementation)
    with torch.no_grad():
        return model(**inputs, output_attentions=True, output_hidden_states=True, **more)


@pytest.mark.parametrize("gone", GONE)
@pytest.mark.parametrize(
    ("family", "head"),
    [*((each, a_head_of(each)) for each in FAMILIES), ("wavlm", "Model"), ("hubert", "Model")],
)
def test_a_block_that_is_gone_leaves_none_in_its_maps_place(family, head, gone, tmp_path):
    for index in (0, 1):
        dense, small = cut(family, head, gone, index)
        inputs = batch(dense, padded=True)
        wanted, found = recorded(dense, inputs), recorded(small, inputs)
        assert len(wanted.attentions) == len(found.attentions) == 3
        assert [place for place, maps in enumerate(found.attentions) if maps is None] == [index]
        assert found.attentions[2 - 2 * index].shape == (2, 2, *wanted.attentions[0].shape[2:])
        assert len(found.hidden_states) == len(wanted.hidden_states) == 4
    save_pretrained(small, tmp_path / "small")
    again = recorded(load_pretrained(tmp_path / "small"), inputs)
    assert [maps is None for maps in again.attentions] == [False, True, False]
    assert torch.equal(again.attentions[0], found.attentions[0])


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "wavlm"])
def test_the_maps_that_are_left_are_those_of_the_dense_model(family):
    dense = tiny_model(family, a_head_of(family)).double()
    small = resize(dense, trace(dense), {"layer.0.heads": [1, 3]})
    inputs = batch(dense, padded=True)
    found, wanted = recorded(small, inputs).attentions[0], recorded(dense, inputs).attentions[0]
    assert torch.allclose(found, wanted[:, [1, 3]], atol=1e-12)


def test_the_maps_of_wavlm_average_to_those_of_the_stock_module():
    dense = tiny_model("wavlm", "ForCTC").double()
    small = resize(dense, trace(dense), {})
    inputs = batch(dense)
    for implementation in ("eager", "sdpa"):  # maps are made on demand, whatever the kernel
        found = recorded(small, inputs, implementation).attentions
        for ours, stock in zip(found, recorded(dense, inputs).attentions, strict=True):
            assert torch.allclose(ours.mean(1), stock[:, 0], atol=1e-12)


@pytest.mark.parametrize("family", ["wav2vec2", "wavlm", "sew-d"])
def test_a_tuple_is_given_where_no_dict_is_wanted(family):
    _, small = cut(family, a_head_of(family), "heads")
    inputs = batch(small)
    wanted = recorded(small, inputs)
    found = recorded(small, inputs, return_dict=False)
    assert isinstance(found, tuple)
    assert [maps is None for maps in found[-1]] == [False, True, False]
    assert torch.equal(found[0], wanted.logits)


@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
def test_a_fused_kernel_records_no_map_at_all(family):
    _, small = cut(family, a_head_of(family), "heads")
    assert recorded(small, batch(small), "sdpa").attentions == ()


def test_what_a_model_recorded_before_it_was_cut_does_not_stay():
    model = tiny_model("wavlm")
    inputs = batch(model)
    recorded(model, inputs)  # transformers puts its hooks on the modules
    small = resize(model, trace(model), {"layer.1": [], "layer.2.heads": []})
    found = recorded(small, inputs)
    assert [maps is None for maps in found.attentions] == [False, True, True]
    assert len(found.hidden_states) == 4
    assert len(recorded(model, inputs).attentions) == 3


def test_the_backbone_of_a_model_with_a_head_is_saved_and_loaded_alone(tmp_path):
    _, small = cut("hubert", "ForCTC", "heads")
    save_pretrained(small.hubert, tmp_path / "bare")
    bare = load_pretrained(tmp_path / "bare")
    inputs = batch(small)
    assert torch.equal(bare(**inputs).last_hidden_state, small.hubert.eval()(**inputs).last_hidden_state)


def test_layers_that_reuse_maps_give_them_when_all_layers_do():
    model = reuse_attention(tiny_model("hubert", "ForCTC"), [1])
    inputs = batch(model)
    first, second, _ = recorded(model, inputs).attentions
    assert torch.equal(first, second)
    assert recorded(model, inputs, "sdpa").attentions == ()  # as many as of any model of the family


# -- attention implementations


def ours(tmp_path, family="wavlm"):
    small = cut(family, a_head_of(family), "heads")[1]
    save_pretrained(small, tmp_path / "small")
    return small, tmp_path / "small"


@pytest.mark.parametrize("asked", ["flash_attention_2", "flex_attention", "no_such_thing", "mine"])
def test_wavlm_refuses_a_kernel_that_cannot_take_its_position_biases(asked, tmp_path):
    small, folder = ours(tmp_path)
    if asked == "mine":
        AttentionInterface.register("mine", lambda *_args, **_kwargs: None)
    try:
        with pytest.raises(ValueError, match=r"not support|is not supported"):
            small.set_attn_implementation(asked)
        assert small.config._attn_implementation == "sdpa"
        with pytest.raises(ValueError, match=r"not support|is not supported"):
            type(small).from_pretrained(folder, attn_implementation=asked)
        with pytest.raises(ModelError, match=r"not support|is not supported"):
            load_model(folder, {"attn_implementation": asked})
    finally:
        AttentionInterface._global_mapping.pop("mine", None)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_wavlm_loads_with_either_of_its_kernels_and_both_agree(implementation, tmp_path):
    small, folder = ours(tmp_path)
    loaded = type(small).from_pretrained(folder, attn_implementation=implementation).eval()
    assert loaded.config._attn_implementation == implementation
    inputs = batch(small)
    assert torch.allclose(loaded(**inputs).logits, small(**inputs).logits, atol=1e-5)


@pytest.mark.parametrize("family", ["sew-d"])
def test_families_that_know_one_kernel_refuse_the_others(family, tmp_path):
    small, folder = ours(tmp_path, family)
    with pytest.raises(ValueError, match="does not support"):
        small.set_attn_implementation("sdpa")
    with pytest.raises(ValueError, match="does not support"):
        type(small).from_pretrained(folder, attn_implementation="flash_attention_2")


def test_reused_maps_refuse_kernels_whose_masks_are_not_added_to_scores():
    model = reuse_attention(tiny_model("hubert", "ForCTC"), [1])
    with pytest.raises((ValueError, ImportError)):
        model.set_attn_implementation("flash_attention_2")
    with pytest.raises(ValueError, match="attention maps that layers reuse"):
        model.set_attn_implementation("flex_attention")
    assert model.config._attn_implementation == "sdpa"


def test_a_folder_that_states_an_unknown_kernel_is_refused(tmp_path):
    _, folder = ours(tmp_path)
    config = folder / "config.json"
    config.write_text(config.read_text().replace("{", '{"_attn_implementation": "flash_attention_2",', 1))
    try:
        loaded = load_pretrained(folder)
    except ArtifactError:
        return
    assert loaded.config._attn_implementation in ("eager", "sdpa")  # transformers may not read it at all


@pytest.mark.parametrize("family", ["hubert", "wavlm", "wav2vec2-conformer", "sew-d"])
def test_every_parameter_of_an_emptied_model_has_a_gradient(family):
    """Processes that train together wait for all; a norm before an emptied block gets zeros."""
    model = tiny_model(family, "ForSequenceClassification", "layer")
    keep = {name: [] for name in trace(model).groups if name in ("layer.1.heads", "layer.2.ffn")}
    small = resize(model, trace(model), keep).train()
    small(**batch(small), labels=torch.tensor([0, 1])).loss.backward()
    without = [name for name, each in small.named_parameters() if each.grad is None]
    assert not [name for name in without if ".layer" in name]
