"""Files of weights: shapes, shards, old names, pickles, and damage."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from prune_ssl.cli.app import app
from prune_ssl.models import load_model
from tests.support.models import TINY, tiny_model
from tests.support.saved import change_weights, error_of, saved


def test_weight_norm_under_its_old_names_is_read(tmp_path):
    folder = saved(tmp_path / "m")
    wanted = load_model(folder).state_dict()
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}

    def rename(tensors):
        for new, name in old.items():
            tensors = {key.replace(new, name): value for key, value in tensors.items()}
        return tensors

    change_weights(folder, rename)
    assert any(key.endswith("weight_v") for key in load_file(folder / "model.safetensors"))
    found = load_model(folder).state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in found.items())


@pytest.mark.parametrize("field", ["hidden_size", "intermediate_size", "num_hidden_layers", "conv_dim"])
def test_weights_of_other_shapes_than_the_config_says_are_named(tmp_path, field):
    value = {"hidden_size": 32, "num_hidden_layers": 4, "conv_dim": [14, *TINY["conv_dim"][1:]]}.get(
        field, 40
    )
    error = error_of(saved(tmp_path / "m", **{field: value}))
    if field == "num_hidden_layers":
        assert "encoder.layers.3." in error
    else:
        assert "found shape [" in error
        assert "wanted [" in error


def test_a_tensor_of_another_shape_is_named_with_both_shapes(tmp_path):
    folder = saved(tmp_path / "m")
    change_weights(folder, lambda tensors: tensors | {"classifier.weight": torch.randn(5, 13)})
    assert "classifier.weight: found shape [5, 13], wanted [5, 12]" in error_of(folder)


DAMAGES = {
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "header flipped": lambda file: file.write_bytes(b"\xff" + file.read_bytes()[1:]),
    "empty": lambda file: file.write_bytes(b""),
    "a pointer of git lfs": lambda file: file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "gone": lambda file: file.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_weights_are_one_error(tmp_path, damage):
    folder = saved(tmp_path / "m")
    DAMAGES[damage](folder / "model.safetensors")
    assert "model.safetensors" in error_of(folder)


def shard(folder: Path):
    tiny_model().save_pretrained(folder, max_shard_size="10KB")
    assert (folder / "model.safetensors.index.json").is_file()
    return folder


def test_shards_load_and_a_bad_index_is_one_error(tmp_path):
    folder = shard(tmp_path / "m")
    wanted = tiny_model()
    model = load_model(folder)
    assert model.state_dict().keys() == wanted.state_dict().keys()
    index = folder / "model.safetensors.index.json"
    good = json.loads(index.read_text())
    names = sorted(set(good["weight_map"].values()))
    for bad in (
        "{}",
        '{"weight_map": []}',
        '{"weight_map": {"a": 3}}',
        json.dumps({"weight_map": {"a": "../m/model.safetensors"}}),
        json.dumps({"weight_map": {**good["weight_map"], "more": "model-9.safetensors"}}),
    ):
        index.write_text(bad)
        assert "model.safetensors.index.json" in error_of(folder)
    index.write_text(json.dumps(good))
    (folder / names[0]).unlink()
    assert names[0] in error_of(folder)


def pickled(folder: Path):
    """The same model with pytorch_model.bin in the place of safetensors."""
    saved(folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def test_pickled_weights_are_refused_until_they_are_allowed(tmp_path):
    folder = pickled(tmp_path / "m")
    error = error_of(folder)
    assert "pytorch_model.bin" in error
    assert "--allow-pickle" in error
    assert "model.allow_pickle" in error
    model = load_model(folder, allow_pickle=True)
    stored = torch.load(folder / "pytorch_model.bin", weights_only=True)
    assert torch.equal(model.classifier.weight, stored["classifier.weight"])
    runner = CliRunner()
    assert runner.invoke(app, ["trace", str(folder)]).exit_code == 2
    assert runner.invoke(app, ["trace", str(folder), "--allow-pickle"]).exit_code == 0


def test_safetensors_win_over_pickles(tmp_path):
    folder = saved(tmp_path / "m")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04not a model")
    assert type(load_model(folder)).__name__ == "HubertForSequenceClassification"
    assert type(load_model(folder, allow_pickle=True)).__name__ == "HubertForSequenceClassification"


class Touch:
    """Runs code where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_no_code_runs_from_a_pickle(tmp_path):
    folder = pickled(tmp_path / "m")
    mark = tmp_path / "ran"
    torch.save({"a": Touch(str(mark))}, folder / "pytorch_model.bin")
    error_of(folder, allow_pickle=True)
    assert not mark.exists()


def test_other_formats_and_adapters_are_named(tmp_path):
    folder = saved(tmp_path / "m")
    weights = folder / "model.safetensors"
    for name in ("tf_model.h5", "flax_model.msgpack", "adapter_model.safetensors", "model.pt"):
        weights = weights.rename(folder / name)
        assert name in error_of(folder)
    weights.rename(folder / "model.safetensors")
    (folder / "adapter_config.json").write_text("{}")
    assert "merge_and_unload" in error_of(folder)
    (folder / "config.json").unlink()
    assert "merge_and_unload" in error_of(folder)
