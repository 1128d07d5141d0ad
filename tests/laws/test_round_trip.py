"""Folders: save, load in a new process, bit-equal; strict, no pickle, nothing overwritten."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForAudioClassification, AutoModelForCTC, Wav2Vec2FeatureExtractor

from prune_ssl import Plan, load_pretrained, resize, save_pretrained, trace
from prune_ssl.artifacts.folder import load_plan
from prune_ssl.artifacts.remote_code import FILE
from prune_ssl.errors import ArtifactError, ModelError
from tests.support.keeps import ALL, UNITS, random_keep
from tests.support.models import ALL_CASES, batch, first_output, relative_difference, tiny_model
from tests.support.torchaudio_models import tiny as tiny_torchaudio
from tests.support.unknown import Custom


def small_model(
    family="hubert", head="ForSequenceClassification", norm="group", seed=3, extreme="random", kinds=UNITS
):
    model = tiny_model(family, head, norm)
    graph = trace(model)
    keep = random_keep(graph, seed, extreme, kinds)
    return resize(model, graph, keep), keep


@pytest.mark.parametrize(("family", "head", "norm"), ALL_CASES)
def test_a_saved_model_loads_bit_equal(tmp_path, family, head, norm):
    cuts = [("random", ALL)] + [("almost nothing", UNITS)] * (family in ("wav2vec2", "hubert", "wavlm"))
    for number, (extreme, kinds) in enumerate(cuts):
        small, _ = small_model(family, head, norm, extreme=extreme, kinds=kinds)
        inputs = batch(small)
        loaded = load_pretrained(save_pretrained(small, tmp_path / str(number)))
        assert type(loaded) is type(small)
        assert torch.equal(first_output(loaded, **inputs), first_output(small, **inputs))
        assert trace(loaded).cost() == trace(small).cost()


def test_a_saved_model_loads_bit_equal_in_a_new_process(tmp_path):
    small, _ = small_model()
    folder = save_pretrained(small, tmp_path / "model")
    audio = torch.randn(1, 8000)
    save_file({"audio": audio, "wanted": first_output(small, audio)}, tmp_path / "wanted.safetensors")
    code = (
        "import sys, torch, prune_ssl\n"
        "from safetensors.torch import load_file\n"
        "torch.set_num_threads(1)\n"
        "data = load_file(sys.argv[2])\n"
        "model = prune_ssl.load_pretrained(sys.argv[1])\n"
        "with torch.no_grad(): found = model(data['audio']).logits\n"
        "print(torch.equal(found, data['wanted']))\n"
    )
    command = [sys.executable, "-c", code, str(folder), str(tmp_path / "wanted.safetensors")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "True"


@pytest.mark.parametrize(
    ("auto", "head"),
    [
        (AutoModel, "Model"),
        (AutoModelForCTC, "ForCTC"),
        (AutoModelForAudioClassification, "ForSequenceClassification"),
    ],
)
def test_auto_classes_load_it_once_prune_ssl_is_imported(tmp_path, auto, head):
    small, _ = small_model("wav2vec2", head)
    folder = save_pretrained(small, tmp_path / "model")
    loaded, info = auto.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert all(torch.equal(value, small.state_dict()[name]) for name, value in loaded.state_dict().items())
    audio = torch.randn(1, 8000)
    assert relative_difference(first_output(loaded.eval(), audio), first_output(small, audio)) < 1e-6


def test_the_model_saves_itself_too(tmp_path):
    small, _ = small_model()
    small.save_pretrained(tmp_path)
    audio = torch.randn(1, 8000)
    assert torch.equal(first_output(load_pretrained(tmp_path), audio), first_output(small, audio))


def test_the_folder_holds_safetensors_processor_and_plan_and_no_more_weights_than_counted(tmp_path):
    small, keep = small_model()
    plan = Plan(
        {name: tuple(units) for name, units in keep.items()}, {"conv.0": (0.5,) * len(keep["conv.0"])}
    )
    folder = save_pretrained(small, tmp_path / "model", processor=Wav2Vec2FeatureExtractor(), plan=plan)
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        "config.json",
        "model.safetensors",
        FILE,
        "preprocessor_config.json",
        "pruning_plan.json",
    ]
    assert load_plan(folder) == plan
    stored = load_file(folder / "model.safetensors")
    assert sum(value.numel() for value in stored.values()) == trace(small).cost().params
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "pruned_hubert"
    assert config["pruned_layers"]["1"] == {
        "num_attention_heads": len(keep["layer.1.heads"]),
        "intermediate_size": len(keep["layer.1.ffn"]),
    }


def test_a_saved_plan_can_be_applied_to_the_dense_checkpoint_again(tmp_path):
    model = tiny_model()
    graph = trace(model)
    plan = Plan({name: tuple(units) for name, units in random_keep(graph, 1).items()})
    folder = save_pretrained(resize(model, graph, plan), tmp_path / "model", plan=plan)
    audio = torch.randn(1, 8000)
    again = resize(model, graph, load_plan(folder))
    assert torch.equal(first_output(again, audio), first_output(load_pretrained(folder), audio))


def test_an_existing_folder_is_not_touched_without_overwrite(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    small, _ = small_model()
    with pytest.raises(ArtifactError, match="exists already, so nothing was written"):
        save_pretrained(small, tmp_path)
    assert (tmp_path / "precious.txt").read_text() == "mine"
    save_pretrained(small, tmp_path / "model")
    save_pretrained(small, tmp_path / "model", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "precious.txt"]


def test_weights_that_do_not_fit_are_refused(tmp_path):
    small, _ = small_model()
    folder = save_pretrained(small, tmp_path / "model")
    stored = load_file(folder / "model.safetensors")
    del stored["classifier.weight"]
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ArtifactError, match="do not fit its config"):
        load_pretrained(folder)
    (folder / "model.safetensors").write_bytes(b"not a model")
    with pytest.raises(ArtifactError, match="cannot load"):
        load_pretrained(folder)


def test_a_missing_or_foreign_folder_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="is not a folder"):
        load_pretrained(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match=r"has no config\.json"):
        load_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ArtifactError, match="'bert' model, which is not a supported speech SSL family"):
        load_pretrained(tmp_path)


def test_a_class_of_ones_own_is_refused_before_it_would_be_lost():
    model = tiny_model()
    model.__class__ = type("MyHubert", (type(model),), {})
    with pytest.raises(
        ModelError, match="MyHubert is not a class of transformers that prune_ssl can rebuild"
    ):
        resize(model, trace(model), {"conv.0": [1]})


@pytest.mark.parametrize(
    "make",
    [tiny_torchaudio, lambda: tiny_torchaudio("layer_norm", 7), lambda: tiny_torchaudio(wavlm=True), Custom],
)
def test_models_of_no_config_load_bit_equal_into_what_a_factory_makes(tmp_path, make):
    model = make().eval()
    graph = trace(model)
    keep = random_keep(graph, 3, "random", ALL)
    plan = Plan(
        {name: tuple(units) for name, units in keep.items()},
        {name: (0.5,) * len(units) for name, units in keep.items() if graph.groups[name].kind == "ffn"},
    )
    small = resize(model, graph, plan).eval()
    with pytest.raises(ArtifactError, match=r"not a model of transformers.* Give plan="):
        save_pretrained(small, tmp_path / "model")
    folder = save_pretrained(small, tmp_path / "model", plan=plan)
    assert sorted(path.name for path in folder.iterdir()) == ["model.safetensors", "pruning_plan.json"]
    loaded, audio = load_pretrained(folder, make), torch.randn(1, 8000)
    assert all(torch.equal(value, small.state_dict()[name]) for name, value in loaded.state_dict().items())
    with torch.no_grad():
        found, wanted = (each(audio) for each in (loaded, small))
    pair = zip(found, wanted, strict=True) if isinstance(found, tuple) else [(found, wanted)]
    assert all(one is other or torch.equal(one, other) for one, other in pair)
    assert trace(loaded).cost() == trace(small).cost()


def test_a_factory_is_asked_for_refused_and_checked(tmp_path):
    model = tiny_torchaudio()
    keep = {"layer.0.ffn": [0, 3]}
    folder = save_pretrained(
        resize(model, trace(model), keep), tmp_path / "model", plan=keep, dtype=torch.float16
    )
    assert (
        load_file(folder / "model.safetensors")["encoder.transformer.layer_norm.weight"].dtype
        == torch.float16
    )
    assert {parameter.dtype for parameter in load_pretrained(folder, tiny_torchaudio).parameters()} == {
        torch.float32
    }
    with pytest.raises(ArtifactError, match="has no config: give load_pretrained the function"):
        load_pretrained(folder)
    with pytest.raises(ArtifactError, match="does not fit the factory's model"):
        load_pretrained(folder, lambda: tiny_torchaudio(outputs=7))
    with pytest.raises(ArtifactError, match=r"keep names the group 'layer\.0\.ffn'"):
        load_pretrained(
            folder,
            lambda: torch.nn.Sequential(
                torch.nn.Unflatten(1, (1, -1)), torch.nn.Conv1d(1, 4, 3), torch.nn.Conv1d(4, 2, 3)
            ),
        )
    stock, _ = small_model()
    with pytest.raises(ArtifactError, match="is loaded by its config, without a factory"):
        load_pretrained(save_pretrained(stock, tmp_path / "stock"), tiny_torchaudio)
