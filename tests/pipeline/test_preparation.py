"""Models and heads as a run prepares them."""

import pytest
import torch
from transformers import Wav2Vec2FeatureExtractor

import prune_ssl
from prune_ssl.pipeline.named_models import load_named
from prune_ssl.pipeline.preparation import prepare
from prune_ssl.recipes import ModelPart, load_recipe
from prune_ssl.recipes.smoke import smoke_version
from prune_ssl.tasks import Verification
from tests.support.cli import run_cli
from tests.support.models import TINY, tiny_model
from tests.support.paths import RECIPES


def test_a_named_model_is_trained_as_the_recipe_says_and_keeps_its_architecture(recipe, tmp_path):
    tiny_model(hidden_dropout=0.1, feat_proj_dropout=0.0, layerdrop=0.2).save_pretrained(tmp_path / "given")
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path / "given")
    settings = ["model.config.hidden_dropout=0.3", "model.config.apply_spec_augment=false"]
    settings += ["model.config.num_labels=9", "model.config.conv_dim=[8, 8]", "model.pass_on=true"]
    said = []
    loaded = load_recipe(recipe, [f"model.name={tmp_path / 'given'}", "dense=null", *settings])
    ready = prepare(loaded, False, said.append)
    taken, left = (line for line in said if "given" in line and "note" in line)
    assert taken.endswith(
        "model.config of the recipe: layerdrop=0.0, hidden_dropout=0.3, apply_spec_augment=False"
    )
    assert "not used: conv_dim, " in left
    assert left.endswith("pass_on")
    assert "num_labels" not in left
    model = ready.model
    assert model.hubert.encoder.dropout.p == model.hubert.encoder.layers[0].dropout.p == 0.3
    assert (model.config.layerdrop, ready.spec_augment) == (0.0, False)
    assert model.config.conv_dim == list(TINY["conv_dim"])


def test_the_dense_model_of_a_recipe_takes_its_place_without_a_word(recipe, tmp_path):
    assert run_cli("run", recipe).exit_code == 0
    said = []
    dense = f"model.name={tmp_path / 'out' / 'dense'}"
    prepare(load_recipe(recipe, [dense, "dense=null", f"output={tmp_path}/next"]), False, said.append)
    assert not [line for line in said if "model.config" in line or "not used" in line]


def test_a_verification_recipe_says_its_margin(tmp_path):
    path = RECIPES / "sv_an4_hj_mac.yaml"
    smoke = smoke_version(load_recipe(path, ["data.margin=0.1", f"output={tmp_path}/out"]))
    ready = prepare(smoke, False, lambda line: None)
    assert ready.model.objective.margin == 0.1
    graph = prune_ssl.trace(ready.model)
    keep = prune_ssl.select(ready.model, graph, "macs=90%", round_to=1)
    assert prune_ssl.resize(ready.model, graph, keep).objective.margin == 0.1


@pytest.mark.parametrize("family", ["hubert", "wavlm"])
def test_a_named_model_without_a_speaker_head_gets_one_of_the_asked_shape(family, tmp_path):
    """One convolution of kernel 1 is statistics pooling of the frames, without an x-vector's context."""
    tiny_model(family, "Model").save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    shape = {"tdnn_dim": [8], "tdnn_kernel": [1], "tdnn_dilation": [1], "xvector_output_dim": 6}
    said = []
    loaded, _ = load_named(ModelPart(name=str(tmp_path), config=shape), str(tmp_path), said.append)
    model = Verification(("ann", "bob")).head.put_on(loaded).eval()
    assert not said
    assert [tuple(layer.kernel.weight.shape) for layer in model.tdnn] == [(8, 8)]
    frames = torch.randn(1, 4000)
    with torch.no_grad():
        states = model.tdnn[0](model.projector(model.base_model(frames).last_hidden_state))
        pooled = torch.cat([states.mean(1), states.std(1)], 1)
        torch.testing.assert_close(model(frames).embeddings, model.feature_extractor(pooled))
