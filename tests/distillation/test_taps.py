"""Taps give what the model computes, at the place of its frames, and leave the model as it was."""

import pytest
import torch

from prune_ssl.distillation import Taps
from tests.support.distilling import audio
from tests.support.models import tiny_model


@pytest.mark.parametrize("family", ["wav2vec2", "hubert"])
@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_taps_see_what_the_model_computes(family, norm, attention):
    model = tiny_model(family, "Model", norm)
    model.set_attn_implementation(attention)
    inputs = audio(6000, 4000)
    taps = Taps(model, range(4), range(1, 4))
    with torch.no_grad(), taps.listening() as tapped:
        model(**inputs)
    taps.remove()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        wanted = model(**inputs, output_hidden_states=True, output_attentions=True)
        projected = model.feature_projection(model.feature_extractor(inputs["input_values"]).mT)
    valid = taps.valid_frames(inputs["attention_mask"].sum(-1), tapped.states[0].shape[1], "encoder")
    assert torch.equal(
        valid, model._get_feature_vector_attention_mask(valid.shape[1], inputs["attention_mask"])
    )
    assert 0 < int((~valid).sum()) < valid.numel()
    projected = projected[0] if isinstance(projected, tuple) else projected
    torch.testing.assert_close(tapped.states[0], projected)
    for layer in (1, 2, 3):
        hidden = wanted.hidden_states[layer]
        torch.testing.assert_close(tapped.states[layer][valid], hidden[valid], rtol=1e-4, atol=1e-5)
        scores = tapped.queries[layer] @ tapped.keys[layer].mT
        maps = scores.masked_fill(~valid[:, None, None, :], -torch.inf).softmax(-1).transpose(1, 2)
        torch.testing.assert_close(maps[valid], wanted.attentions[layer - 1].transpose(1, 2)[valid])


def test_taps_leave_the_model_as_it_was():
    model = tiny_model()
    model(torch.randn(1, 4000))  # transformers puts hooks of its own on at the first call
    keys, hooks = list(model.state_dict()), [len(module._forward_hooks) for module in model.modules()]
    taps = Taps(model, range(4), range(1, 4))
    assert list(model.state_dict()) == keys
    model(torch.randn(1, 4000))
    assert taps._tapped is None  # nothing is kept when nobody listens
    taps.remove()
    assert [len(module._forward_hooks) for module in model.modules()] == hooks


def test_frames_are_those_of_their_place():
    waves = audio(9000, 5000)
    for family in ("sew", "wav2vec2-adapter"):
        model = tiny_model(family, "ForCTC")
        taps = Taps(model, (0, 1), ())
        with torch.no_grad(), taps.listening() as tapped:
            logits = model(waves["input_values"][:1]).logits
        found = [taps.frames(9000, stage) for stage in ("input", "encoder", "output")]
        assert found[:2] == [tapped.states[0].shape[1], tapped.states[1].shape[1]]
        assert found[2] >= logits.shape[1]
        assert len(set(found)) == 2
