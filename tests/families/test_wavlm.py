"""WavLM's own attention: equal to the stock one, its shared position bias survives whatever layer 0 loses."""

import pytest
import torch

from prune_ssl import load_pretrained, resize, save_pretrained, trace
from tests.support.models import batch, first_output, relative_difference, tiny_model


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_nothing_pruned_equals_the_stock_module(norm, padded, attention):
    model = tiny_model("wavlm", "Model", norm)
    inputs = batch(model, 12_000, padded)
    ours = resize(model, trace(model), {})
    ours.config._attn_implementation = attention
    assert type(ours.encoder.layers[0].attention).__name__ == "PrunedWavLMAttention"
    valid = slice(0, 20) if padded else slice(None)
    found, wanted = first_output(ours, **inputs)[:, valid], first_output(model, **inputs)[:, valid]
    assert relative_difference(found, wanted) <= 1e-5


@pytest.mark.parametrize(
    "keep",
    [{"layer.0.heads": []}, {"layer.0.attention": []}, {"layer.0": []}, {"layer.0": [], "layer.1": []}],
)
def test_the_position_bias_survives_the_loss_of_layer_0(tmp_path, keep):
    model = tiny_model("wavlm", "ForCTC").double()
    graph = trace(model)
    small = resize(model, graph, keep)
    inputs = batch(small)
    table = "wavlm.encoder.layers.0.attention.rel_attn_embed.weight"
    assert torch.equal(small.state_dict()[table], model.state_dict()[table])
    before = first_output(small, **inputs)
    with torch.no_grad():
        small.get_parameter(table).mul_(3)
    assert relative_difference(first_output(small, **inputs), before) > 1e-6  # later layers still use it
    loaded = load_pretrained(save_pretrained(small.float(), tmp_path / "m"))
    assert table in loaded.state_dict()


def test_heads_keep_their_original_numbers_through_two_cuts():
    model = tiny_model("wavlm", "ForCTC").double()
    once = resize(model, trace(model), {"layer.1.heads": [0, 2, 3]})
    twice = resize(once, trace(once), {"layer.1.heads": [1, 2]})
    assert twice.wavlm.encoder.layers[1].attention.heads == [2, 3]
    direct = resize(model, trace(model), {"layer.1.heads": [2, 3]})
    inputs = batch(model)
    assert relative_difference(first_output(twice, **inputs), first_output(direct, **inputs)) < 1e-12


def test_every_head_has_its_own_map():
    model = tiny_model("wavlm", "Model")
    small = resize(model, trace(model), {"layer.0.heads": [0, 3]})
    small.set_attn_implementation("eager")
    maps = small.encoder.layers[0].attention(torch.randn(1, 9, 16))[1]
    assert maps.shape == (1, 2, 9, 9)
    assert not torch.allclose(maps[:, 0], maps[:, 1])
