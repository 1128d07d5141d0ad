"""Checkpoints as people have them: heads are never lost in silence, odd folders are refused in one line."""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from prune_ssl import load_pretrained, resize, save_pretrained, trace
from prune_ssl.cli.app import app
from prune_ssl.errors import ArtifactError, ModelError
from prune_ssl.models import load_model, places
from prune_ssl.models.origin import origin_of
from tests.support.models import TINY, batch, first_output, tiny_model


def saved(folder: Path, family="hubert", head="ForSequenceClassification", **changes):
    """A tiny model's folder, with fields of its config changed."""
    model = tiny_model(family, head)
    model.save_pretrained(folder)
    change_config(folder, **changes)
    return folder


def change_config(folder: Path, **changes):
    file = folder / "config.json"
    fields = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in fields.items() if value != "gone"}))


def change_weights(folder: Path, change):
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors), folder / "model.safetensors", metadata={"format": "pt"})


def error_of(folder, **options) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


OWN_CLASSES = [
    ["Wav2Vec2ForSpeechClassification"],
    ["MyModel", "OtherModel"],
    ["hubertforsequenceclassification"],
    ["HubertModel"],
    ["HubertForCTC"],
    ["HubertForCTC", "HubertForSequenceClassification"],
    ["BertModel"],
    [],
    None,
]


@pytest.mark.parametrize("names", OWN_CLASSES, ids=str)
def test_a_head_that_the_named_class_would_lose_is_refused_and_the_fitting_class_named(tmp_path, names):
    folder = saved(tmp_path / "m", architectures=names)
    error = error_of(folder)
    assert "classifier.weight" in error
    assert "HubertForSequenceClassification" in error
    assert "--head drop" in error
    assert "head='drop'" in error
    bare = load_model(folder, head="drop")
    assert type(bare).__name__ == "HubertModel"
    assert origin_of(bare).head.startswith("dropped by request (classifier, projector")


def test_a_head_of_the_authors_own_that_no_class_has_is_refused_with_its_keys(tmp_path):
    folder = saved(tmp_path / "m", "wav2vec2", "Model", architectures=["Wav2Vec2ForSpeechClassification"])
    model = tiny_model("wav2vec2", "ForSequenceClassification")
    tensors = {k: v for k, v in model.state_dict().items() if k.startswith("wav2vec2.")}
    tensors |= {
        "classifier.dense.weight": torch.randn(16, 16),
        "classifier.out_proj.weight": torch.randn(4, 16),
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    error = error_of(folder)
    assert "classifier.dense.weight, classifier.out_proj.weight" in error
    assert "no class of transformers has such a head" in error
    dropped = load_model(folder, head="drop")
    assert torch.equal(first_output(dropped, **batch(dropped, 4000)).isnan().any(), torch.tensor(False))


def test_more_head_than_the_named_class_has_is_refused(tmp_path):
    folder = saved(tmp_path / "m")
    change_weights(folder, lambda tensors: {**tensors, "pooling.attention.weight": torch.ones(3, 3)})
    assert "pooling.attention.weight" in error_of(folder)


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


FIELDS = [
    ("conv_dim", []),
    ("conv_dim", [16, 16]),
    ("conv_kernel", [10, 3, 3]),
    ("conv_stride", [5, 2, 2, 2, 2, 2, 0]),
    ("conv_dim", "16"),
    ("hidden_size", 10**9),
    ("hidden_size", -16),
    ("hidden_size", "16"),
    ("hidden_size", True),
    ("hidden_size", 16.5),
    ("num_hidden_layers", 10**7),
    ("num_attention_heads", 3),
    ("num_attention_heads", 0),
    ("intermediate_size", 10**12),
    ("vocab_size", 10**12),
    ("num_conv_pos_embedding_groups", 3),
    ("hidden_act", "foo"),
    ("hidden_act", 3),
    ("dtype", "float33"),
    ("torch_dtype", 16),
    ("id2label", ["a", "b"]),
    ("id2label", {"a": 1}),
    ("id2label", {"0": "a", "7": "b"}),
    ("id2label", {"0": ["a"]}),
    ("layerdrop", 2.0),
    ("hidden_dropout", float("nan")),
    ("layer_norm_eps", float("inf")),
    ("architectures", "HubertForCTC"),
    ("architectures", [3]),
    ("model_type", "gone"),
    ("model_type", 3),
]


@pytest.mark.parametrize(("field", "value"), FIELDS, ids=str)
def test_a_field_that_no_model_has_is_named_before_anything_is_allocated(tmp_path, field, value):
    error = error_of(saved(tmp_path / "m", **{field: value}))
    assert field.removeprefix("torch_") in error


PRUNED_FIELDS = [
    ("pruned_layers", {"999": {}}),
    ("pruned_layers", {"-1": {}}),
    ("pruned_layers", {"x": {}}),
    ("pruned_layers", []),
    ("pruned_layers", {"0": {"intermediate_size": -1}}),
    ("pruned_layers", {"0": {"intermediate_size": 10**9}}),
    ("pruned_layers", {"0": {"num_attention_heads": 99}}),
    ("pruned_layers", {"0": {"removed": "layer"}}),
    ("pruned_layers", {"0": {"wings": 2}}),
    ("pruned_layers", {"0": 7}),
    ("reused_maps", [99]),
    ("residual_dims", [-1]),
    ("prune_format_version", 99),
    ("prune_format_version", "1"),
]


@pytest.mark.parametrize(("field", "value"), PRUNED_FIELDS, ids=str)
def test_so_is_a_field_of_a_pruned_config(tmp_path, field, value):
    model = tiny_model()
    graph = trace(model)
    folder = save_pretrained(resize(model, graph, {"layer.0.ffn": [0, 1]}), tmp_path / "m")
    change_config(folder, **{field: value})
    assert field in error_of(folder)
    with pytest.raises(ArtifactError, match=field):
        load_pretrained(folder)


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ({"num_hidden_layers": 2}, "encoder.layers.2."),
        (
            {
                "conv_dim": [12] * 3,
                "conv_kernel": [3] * 3,
                "conv_stride": [2] * 3,
                "num_feat_extract_layers": 3,
            },
            "conv",
        ),
    ],
)
def test_layers_that_the_config_leaves_out_are_named(tmp_path, changes, lost):
    assert lost in error_of(saved(tmp_path / "m", "wavlm", "Model", **changes))


def test_the_head_of_a_pruned_model_can_be_dropped_too(tmp_path):
    model = tiny_model("wav2vec2", "ForCTC")
    folder = save_pretrained(resize(model, trace(model), {"layer.0.ffn": [0, 1]}), tmp_path / "m")
    bare = load_model(folder, head="drop")
    assert type(bare).__name__ == "PrunedWav2Vec2Model"
    assert origin_of(bare).head.startswith("dropped by request (lm_head")
    wanted = load_model(folder).wav2vec2.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in bare.state_dict().items())


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


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"model_type": "hubert"', "\x00", "[" * 100_000, "\udcff"]
)
def test_a_damaged_config_is_one_error(tmp_path, text):
    folder = saved(tmp_path / "m")
    (folder / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert "config.json" in error_of(folder)


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


def test_quantised_checkpoints_are_refused(tmp_path):
    folder = saved(tmp_path / "m", quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    assert "quantised" in error_of(folder)
    change_config(folder, quantization_config="gone")
    change_weights(
        folder, lambda tensors: tensors | {"classifier.weight": torch.ones(5, 12, dtype=torch.int8)}
    )
    assert "classifier.weight" in error_of(folder)


def test_names_that_are_no_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places.constants, "HF_HUB_OFFLINE", True)
    saved(tmp_path / "asr_model")
    (tmp_path / "sub").mkdir()
    shutil.copytree("asr_model", "sub/asr_model")
    for name, hint in (
        ("asr_modle", "Did you mean asr_model?"),
        ("./asr_modle", "Did you mean asr_model?"),
        ("sub/asr_modle", "Did you mean sub/asr_model?"),
        (str(tmp_path / "asr_modle"), f"Did you mean {tmp_path / 'asr_model'}?"),
        ("no/such/folder/at/all", "there is no such folder"),
        ("asr_model/config.json", "give its folder asr_model"),
        ("asr_model/model.safetensors", "give its folder asr_model"),
        ("asr_modle/", "Did you mean asr_model?"),
        ("https://huggingface.co/facebook/wav2vec2-base", "ORG/NAME"),
        ("", "empty"),
        ("a\0b", "is no path"),
        ("x" * 5000, "no"),
        ("org/name", "HF_HUB_OFFLINE"),
    ):
        assert hint in error_of(name), name
    for name in ("asr_model", "asr_model/", "./asr_model", Path("asr_model")):
        assert type(load_model(name)).__name__ == "HubertForSequenceClassification"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert type(load_model("~/asr_model")).__name__ == "HubertForSequenceClassification"


def test_a_hub_that_does_not_answer_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(places.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(places, "HUB_SECONDS", 0.2)
    monkeypatch.setattr(places.HfApi, "model_info", lambda *_args, **_more: time.sleep(30))
    began = time.monotonic()
    assert "no answer in 0.2 s" in error_of("some-org/some-model")
    assert time.monotonic() - began < 20


def hub_cache(monkeypatch, tmp_path, files: Path, name="org/model"):
    """A cache of the hub with one snapshot, as it lies on disk: links to blobs."""
    cache = tmp_path / "hub"
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    (repository / "blobs").mkdir()
    for file in files.iterdir():
        blob = repository / "blobs" / f"blob-{file.name}"
        shutil.copy(file, blob)
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob.name)
    monkeypatch.setattr(places.constants, "HF_HUB_OFFLINE", True)
    whole = places.snapshot_download
    monkeypatch.setattr(
        places, "snapshot_download", lambda *args, **more: whole(*args, **more, cache_dir=str(cache))
    )
    return snapshot


def test_a_cached_hub_model_loads_offline_and_its_files_go_along(monkeypatch, tmp_path):
    folder = saved(tmp_path / "m")
    (folder / "vocab.json").write_text('{"a": 0}')
    hub_cache(monkeypatch, tmp_path, folder)
    model = load_model("org/model")
    assert origin_of(model).head == "kept from org/model (HubertForSequenceClassification)"
    assert model.name_or_path == "org/model"
    out = save_pretrained(model, tmp_path / "out")
    assert (out / "vocab.json").read_text() == '{"a": 0}'
    assert not (out / "vocab.json").is_symlink()


def test_of_a_hub_repository_one_format_of_weights_is_brought():
    both = [
        "config.json",
        "model.safetensors",
        "pytorch_model.bin",
        "tf_model.h5",
        "language_model/5gram.bin",
        "x/y",
    ]
    assert places.files_to_bring(both) == ["config.json", "model.safetensors", "language_model/5gram.bin"]
    assert "pytorch_model.bin" in places.files_to_bring(["config.json", "pytorch_model.bin"])
