"""Where a model's head comes from is known and said."""

import json

import pytest
import torch
from typer.testing import CliRunner

from prune_ssl import resize, save_pretrained, trace
from prune_ssl.cli.app import app
from prune_ssl.models import load_model
from prune_ssl.models.origin import origin_of
from tests.support.models import tiny_model
from tests.support.saved import change_config, saved


@pytest.mark.parametrize(
    ("names", "words"), [(None, "none"), (["MyModel"], "none"), (["HubertModel"], "none")]
)
def test_bare_weights_load_bare_and_say_so(tmp_path, names, words):
    model = load_model(saved(tmp_path / "m", head="Model", architectures=names))
    assert type(model).__name__ == "HubertModel"
    assert origin_of(model).head.startswith(words)


def test_what_pre_training_left_is_no_head(tmp_path):
    folder = saved(tmp_path / "m", "wav2vec2", "ForPreTraining")
    assert type(load_model(folder)).__name__ == "Wav2Vec2ForPreTraining"
    for names in (None, ["Wav2Vec2Model"]):
        change_config(folder, architectures=names)
        model = load_model(folder)
        assert type(model).__name__ == "Wav2Vec2Model"
        assert "quantizer" in origin_of(model).head


def test_the_head_that_is_kept_is_said_by_the_commands(tmp_path):
    folder = saved(tmp_path / "m")
    runner = CliRunner()
    found = runner.invoke(app, ["trace", str(folder)])
    assert f"head: kept from {folder} (HubertForSequenceClassification)" in found.output
    found = runner.invoke(app, ["trace", str(folder), "--json", "--head", "drop"])
    assert json.loads(found.stdout)["family"] == "hubert"
    assert "head: dropped by request" in found.stderr
    found = runner.invoke(app, ["trace", str(folder), "--head", "maybe"])
    assert found.exit_code == 2
    assert "wanted one of keep, drop" in found.output


def test_the_head_of_a_pruned_model_can_be_dropped_too(tmp_path):
    model = tiny_model("wav2vec2", "ForCTC")
    folder = save_pretrained(resize(model, trace(model), {"layer.0.ffn": [0, 1]}), tmp_path / "m")
    bare = load_model(folder, head="drop")
    assert type(bare).__name__ == "PrunedWav2Vec2Model"
    assert origin_of(bare).head.startswith("dropped by request (lm_head")
    wanted = load_model(folder).wav2vec2.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in bare.state_dict().items())
