"""Quantised models in PyTorch: near the float model, counted alike, for inference on the CPU alone."""

import copy

import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor

import prune_ssl
from prune_ssl import evaluate, quantize_
from prune_ssl.errors import ArtifactError, ExportError, ModelError
from prune_ssl.exporting import in_pytorch
from prune_ssl.models.int8_linear import Int8Linear
from tests.support.exporting import pruned
from tests.support.models import tiny_model


@pytest.mark.parametrize("form", in_pytorch.FORMS)
def test_a_quantised_model_is_near_the_float_one_and_costs_as_many_macs(form):
    model = pruned("wav2vec2", "ForSequenceClassification").eval()
    counted = prune_ssl.measure(model, 1.0, with_latency=False)
    float_model = copy.deepcopy(model)
    found = quantize_(model, form)
    waveform = torch.randn(2, 9_000, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        wanted = float_model(waveform).logits
        given = model(waveform.to(model.dtype)).logits.float()
    gap = (given - wanted).abs().max() / wanted.abs().max()
    assert 0 < gap < 0.1
    assert 0 < found.difference.mean < found.difference.largest < 0.1
    now = prune_ssl.measure(model, 1.0, with_latency=False)
    assert (now.params, now.macs) == (counted.params, counted.macs)
    assert now.size_bytes < counted.size_bytes
    if form == "bfloat16":
        assert (model.dtype, found.layers) == (torch.bfloat16, ())
        return
    linears = [path for path, module in float_model.named_modules() if isinstance(module, torch.nn.Linear)]
    assert (list(found.layers), found.left) == (linears, ())
    assert all(isinstance(model.get_submodule(path), Int8Linear) for path in linears)


def test_layers_whose_weights_are_read_without_a_call_stay_floats():
    model = tiny_model("wavlm", "ForXVector")
    found = quantize_(model)
    assert {path.rsplit(".", 1)[1] for path in found.left} >= {"q_proj", "k_proj", "v_proj", "kernel"}
    assert found.layers
    assert type(model.get_submodule(found.left[0])) is torch.nn.Linear


@pytest.mark.parametrize("form", in_pytorch.FORMS)
def test_a_quantised_model_is_judged(corpus, tmp_path, form):
    labels = {"num_labels": 2, "id2label": {0: "high", 1: "low"}}
    model = tiny_model("hubert", "ForSequenceClassification", **labels)
    folder = prune_ssl.save_pretrained(model, tmp_path / "model", processor=Wav2Vec2FeatureExtractor())
    loaded = prune_ssl.load_pretrained(folder)
    quantize_(loaded, form)
    found, wanted = (evaluate(each, corpus).results for each in (loaded, folder))
    assert found["clips"] == wanted["clips"]
    assert found["loss"] == pytest.approx(wanted["loss"], rel=0.05)
    if form == "int8":
        with pytest.raises((ArtifactError, ModelError), match="quantised"):
            prune_ssl.save_pretrained(loaded, tmp_path / "again")


def test_what_cannot_be_right_is_refused_and_left_as_it_was(monkeypatch):
    with pytest.raises(ExportError, match="found 'int4', wanted one of int8, bfloat16"):
        quantize_(tiny_model(), "int4")
    with pytest.raises(ExportError, match=r"found parameters on cpu, torch\.float64, wanted float32 on"):
        quantize_(tiny_model().double())
    with pytest.raises(ModelError, match="wanted the model itself"):
        quantize_("a/name")
    model = tiny_model()
    quantize_(model)
    with pytest.raises(ExportError, match="has int8 layers already"):
        quantize_(model)
    with pytest.raises(ModelError, match="is quantised"):
        prune_ssl.trace(model)
    with pytest.raises(ModelError, match="stays on the CPU with float32 outputs"):
        model.half()
    float_model = tiny_model()
    monkeypatch.setattr(in_pytorch, "OF_INT8", 1e-9)
    with pytest.raises(ExportError, match=r"in int8 the outputs move by .* the model was left as it is"):
        quantize_(float_model)
    assert not any(isinstance(module, Int8Linear) for module in float_model.modules())
