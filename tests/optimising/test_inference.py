"""The optimised model computes what the given one computes, for every family, dense and pruned."""

import copy
import pickle

import pytest
import torch
import transformers

import prune_ssl
from prune_ssl.errors import ModelError
from prune_ssl.families import wavlm_attention
from prune_ssl.families.wavlm_attention import PositionBias
from prune_ssl.optimising.convolutions import FramewiseConv1d, FramewiseLayer
from tests.support.keeps import random_keep
from tests.support.models import (
    CASES,
    OF_FORMS,
    ONE_OF_EACH,
    batch,
    first_output,
    relative_difference,
    tiny_model,
)
from tests.support.slow import slow_but


def kinds_of(model, *kinds):
    return sum(isinstance(module, kinds) for module in model.modules())


@pytest.mark.parametrize(("family", "head", "norm"), slow_but([*ONE_OF_EACH, *OF_FORMS], [*CASES, *OF_FORMS]))
@pytest.mark.parametrize("pruned", [False, True])
def test_it_computes_the_same_function(family, head, norm, pruned):
    model = tiny_model(family, head, norm)
    if pruned:
        graph = prune_ssl.trace(model)
        model = prune_ssl.resize(model, graph, random_keep(graph, seed=1)).eval()
    names = set(model.state_dict())
    fast = prune_ssl.optimize_for_inference(model)
    for samples, padded in ((8000, False), (9000, True), (8000, False)):
        inputs = batch(model, samples, padded)
        assert relative_difference(first_output(fast, **inputs), first_output(model, **inputs)) < 1e-5
    assert set(model.state_dict()) == names
    assert not kinds_of(fast, torch.nn.Dropout)
    assert not any("parametrizations" in name for name in fast.state_dict())


def test_the_parts_that_are_faster_are_in_place():
    large = prune_ssl.optimize_for_inference(tiny_model("wav2vec2", "ForCTC", "layer"))
    assert kinds_of(large, FramewiseConv1d) == 1
    assert kinds_of(large, FramewiseLayer) == len(large.config.conv_dim)
    wavlm = prune_ssl.optimize_for_inference(tiny_model("wavlm", "Model"))
    assert kinds_of(wavlm, PositionBias) == wavlm.config.num_hidden_layers


def test_the_position_bias_is_kept_for_one_length_and_made_anew_for_another(monkeypatch):
    fast = prune_ssl.optimize_for_inference(tiny_model("wavlm", "Model"))
    first = next(module for module in fast.modules() if isinstance(module, PositionBias))
    kept = first.compute_bias(7)
    assert first.compute_bias(7) is kept
    assert torch.equal(first.compute_bias(5), kept[:, :5, :5])
    assert first.double().compute_bias(5).dtype == torch.float64
    monkeypatch.setattr(wavlm_attention, "MOST_KEPT_BYTES", kept.nbytes - 1)
    assert first.compute_bias(7) is not first.compute_bias(7)


def test_attention_maps_that_a_config_asks_for_are_still_given():
    model = tiny_model("wavlm", "Model", output_attentions=True, attn_implementation="eager")
    fast = prune_ssl.optimize_for_inference(model)
    inputs = batch(model, 8000, False)
    with torch.no_grad():
        found, wanted = fast(**inputs).attentions, model(**inputs).attentions
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(found, wanted, strict=True))


def test_it_only_computes(tmp_path):
    model = tiny_model("hubert", "ForCTC")
    fast = prune_ssl.optimize_for_inference(model)
    assert model.train() is model
    assert fast.eval() is fast
    assert prune_ssl.optimize_for_inference(fast) is fast
    for again in (fast, copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        with pytest.raises(ModelError, match=r"train: found a model that optimize_for_inference made"):
            again.train()
    for act in (
        lambda: fast.save_pretrained(tmp_path / "out"),
        lambda: prune_ssl.save_pretrained(fast, tmp_path / "out"),
        lambda: prune_ssl.trace(fast),
        lambda: prune_ssl.measure(fast),
    ):
        with pytest.raises(ModelError, match="Give the model that it was made from"):
            act()
    assert not (tmp_path / "out").exists()


def test_in_place_saves_the_copy():
    model = tiny_model("hubert", "Model")
    inputs = batch(model, 8000, False)
    wanted = first_output(model, **inputs)
    assert prune_ssl.optimize_for_inference(model, inplace=True) is model
    assert relative_difference(first_output(model, **inputs), wanted) < 1e-5


@pytest.mark.parametrize("wrong", [3, None, torch.nn.Linear(2, 2)])
def test_what_is_no_speech_model_is_refused(wrong):
    with pytest.raises(ModelError):
        prune_ssl.optimize_for_inference(wrong)


def test_an_old_weight_norm_is_folded_too():
    model = tiny_model("wav2vec2", "Model")
    conv = model.encoder.pos_conv_embed.conv
    torch.nn.utils.parametrize.remove_parametrizations(conv, "weight")
    with pytest.warns(FutureWarning, match="weight_norm"):
        torch.nn.utils.weight_norm(conv, dim=2)
    inputs = batch(model, 8000, False)
    wanted = first_output(model, **inputs)
    fast = prune_ssl.optimize_for_inference(model, inplace=True)
    assert relative_difference(first_output(fast, **inputs), wanted) < 1e-5
    assert isinstance(fast, transformers.Wav2Vec2Model)
