"""Weights of torchaudio and fairseq become models of transformers with the same outputs, and go back."""

import re

import pytest
import torch
from torchaudio.models.wav2vec2.utils.import_huggingface import import_huggingface_model
from typer.testing import CliRunner

from prune_ssl import load_pretrained, resize, save_pretrained, trace
from prune_ssl.cli.app import app
from prune_ssl.errors import ArtifactError
from prune_ssl.importing import import_checkpoint
from tests.support.keeps import UNITS, random_keep
from tests.support.models import first_output, relative_difference, tiny_model
from tests.support.torchaudio_models import tiny

CUTS = {"dense": None, "cut": ("random", ("conv", "heads", "ffn")), "emptied": ("no heads", UNITS)}
ON_HEADS = 4


def cut(model, how):
    if CUTS[how] is None:
        return model
    graph = trace(model)
    return resize(model, graph, random_keep(graph, 3, *CUTS[how])).eval()


def outputs(model):
    with torch.no_grad():
        return model(torch.linspace(-1, 1, 6000).sin()[None].mul(2))[0]


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize(("mode", "aux"), [("group_norm", 7), ("layer_norm", None)])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_torchaudio_computes_the_same(tmp_path, mode, aux, how, suffix):
    model = cut(tiny(mode, aux), how)
    file = tmp_path / f"weights.{suffix}"
    if suffix == "pt":
        torch.save(model.state_dict(), file)
    else:
        file = save_pretrained(model, tmp_path / "folder", plan={}) / "model.safetensors"
    found = import_checkpoint(file, "wav2vec2", ON_HEADS)
    name = type(found.model).__name__
    assert name == ("Pruned" if how != "dense" else "") + f"Wav2Vec2{'ForCTC' if aux else 'Model'}"
    assert relative_difference(first_output(found.model, wave()), outputs(model)) < 1e-5
    again = load_pretrained(save_pretrained(found.model, tmp_path / "out"))
    assert torch.equal(first_output(again, wave()), first_output(found.model, wave()))


def wave():
    return torch.linspace(-1, 1, 6000).sin()[None].mul(2)


@pytest.mark.parametrize("mode", ["group_norm", "layer_norm"])
@pytest.mark.parametrize("keep", [{}, {"layer.0.ffn": range(5), "conv.1": range(4)}])
def test_torchaudios_wavlm_computes_the_same(tmp_path, mode, keep):
    model = tiny(mode, 7, wavlm=True)
    model = resize(model, trace(model), keep).eval() if keep else model
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    found = import_checkpoint(tmp_path / "weights.pt")
    # tiny() buckets distances up to 20; the file cannot say so
    found.model.config.max_bucket_distance = 20
    for module in found.model.modules():
        if hasattr(module, "max_distance"):
            module.max_distance = 20
    assert relative_difference(first_output(found.model, wave()), outputs(model)) < 1e-5


def test_a_wavlm_without_some_heads_is_refused(tmp_path):
    model = tiny(wavlm=True)
    small = resize(model, trace(model), {"layer.1.heads": [2]})
    torch.save(small.state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ArtifactError, match=r"do not say which heads are left\. Apply the plan"):
        import_checkpoint(tmp_path / "weights.pt")


TO_FAIRSEQ = (
    (r"^(wav2vec2|hubert)\.", ""),
    (r"^lm_head\.", "proj."),
    (r"conv_layers\.(\d+)\.conv\.", r"conv_layers.\1.0."),
    (r"^feature_projection\.layer_norm", "layer_norm"),
    (r"^feature_projection\.projection", "post_extract_proj"),
    (r"pos_conv_embed\.conv\.parametrizations\.weight\.original0", "pos_conv.0.weight_g"),
    (r"pos_conv_embed\.conv\.parametrizations\.weight\.original1", "pos_conv.0.weight_v"),
    (r"pos_conv_embed\.conv\.bias", "pos_conv.0.bias"),
    (r"(layers\.\d+)\.layer_norm", r"\1.self_attn_layer_norm"),
    (r"\.attention\.", ".self_attn."),
    (r"feed_forward\.intermediate_dense", "fc1"),
    (r"feed_forward\.output_dense", "fc2"),
    (r"^masked_spec_embed$", "mask_emb"),
)


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("head", ["Model", "ForCTC"])
def test_fairseqs_names_are_read(tmp_path, norm, head):
    model = tiny_model("wav2vec2", head, norm)
    state = {}
    for name, value in model.state_dict().items():
        place = r"conv_layers.\1.2.1." if norm == "layer" else r"conv_layers.\1.2."
        for old, new in ((r"conv_layers\.(\d+)\.layer_norm\.", place), *TO_FAIRSEQ):
            name = re.sub(old, new, name)
        state[f"w2v_encoder.w2v_model.{name}" if head == "ForCTC" and "proj.w" not in name else name] = value
    extra = {"final_proj.weight": torch.ones(2), "quantizer.vars": torch.ones(2)}
    torch.save({"model": state | (extra if head == "Model" else {}), "args": None}, tmp_path / "m.pt")
    found = import_checkpoint(tmp_path / "m.pt", "wav2vec2", ON_HEADS)
    assert relative_difference(first_output(found.model, wave()), first_output(model, wave())) < 1e-5
    assert any("pretraining" in note for note in found.notes) == ("mask_emb" in state or head == "Model")


class Namespace:
    """Stands for the settings in fairseq's files."""


def test_what_is_refused_says_why(tmp_path):
    file, state = tmp_path / "m.pt", tiny().state_dict()
    torch.save(state, file)
    with pytest.raises(ArtifactError, match=r"do not say how many heads a model of width 16 has.*--heads"):
        import_checkpoint(file)
    with pytest.raises(ArtifactError, match=r"width 16 has \(3 heads\)"):
        import_checkpoint(file, heads=3)
    del state["encoder.transformer.layers.1.layer_norm.bias"]
    torch.save(state, file)
    with pytest.raises(ArtifactError, match="its weights do not fit its config"):
        import_checkpoint(file, heads=4)
    del state["encoder.transformer.pos_conv_embed.conv.parametrizations.weight.original1"]
    torch.save(state, file)
    with pytest.raises(ArtifactError, match=r"has no encoder\.transformer\.pos_conv_embed\.conv"):
        import_checkpoint(file, heads=4)
    torch.save({"model": state, "cfg": Namespace()}, file)
    with pytest.raises(ArtifactError, match=r"fairseq's files give the weights alone"):
        import_checkpoint(file, heads=4)


def test_the_command_takes_the_number_of_heads(tmp_path):
    torch.save(tiny().state_dict(), tmp_path / "m.pt")
    arguments = ["import", str(tmp_path / "m.pt"), str(tmp_path / "out"), "--family", "hubert"]
    assert CliRunner().invoke(app, arguments).exit_code == 2
    found = CliRunner().invoke(app, [*arguments, "--heads", "4"])
    assert found.exit_code == 0, found.output
    assert load_pretrained(tmp_path / "out").config.num_attention_heads == 4


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm"])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_the_way_back_is_torchaudios_own_importer_for_models_of_one_width(family, norm):
    model = tiny_model(family, "Model", norm)
    back = import_huggingface_model(model).eval()
    assert relative_difference(outputs(back), first_output(model, wave())) < 1e-5
    small = resize(model, trace(model), {"layer.0.ffn": [0, 1]})
    with pytest.raises(RuntimeError, match=r"Error\(s\) in loading state_dict"):
        import_huggingface_model(small)
