"""Exports are the model: every family and target, pruned, on inputs that the export did not try."""

import json

import pytest
import torch

from prune_ssl import load_model, save_pretrained
from prune_ssl.errors import ArtifactError, ExportError, ModelError
from prune_ssl.exporting import quantize_, write_export
from tests.support.exporting import (
    NORMALISED,
    NORMALISED_WITH_MASK,
    difference,
    needs_onnx,
    needs_openvino,
    pruned,
)
from tests.support.models import tiny_model


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("head", ["ForXVector", "ForSequenceClassification", "Model"])
def test_heads_are_exported(tmp_path, head):
    model = pruned("wav2vec2", head)
    made = write_export(model, tmp_path / "out", "onnx", processor=NORMALISED)
    assert difference(model, made, False) <= 1e-4
    said = json.loads((tmp_path / "out" / "export.json").read_text())
    assert said["do_normalize"] is True
    assert said["takes_attention_mask"] is False
    assert (said["labels"] is not None) == (head == "ForSequenceClassification")


@pytest.mark.parametrize(
    "target",
    [
        "torchscript",
        pytest.param("pt2", marks=pytest.mark.slow),
        pytest.param("openvino", marks=[needs_openvino, pytest.mark.slow]),
    ],
)
def test_other_graphs_are_the_pruned_model(tmp_path, target):
    model = pruned("hubert", "ForSequenceClassification")
    made = write_export(model, tmp_path / "out", target, processor=NORMALISED)
    assert difference(model, made, False) <= 1e-4
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


def test_the_graph_of_a_verifier_takes_no_mask_though_its_extractor_makes_one(tmp_path):
    """An x-vector head loops over the clips of a masked batch, which no graph can hold."""
    model = tiny_model("wavlm", "ForXVector", "layer", num_hidden_layers=1)
    for processor in (NORMALISED_WITH_MASK, None):
        made = write_export(model, tmp_path / "out", "torchscript", processor=processor, overwrite=True)
        assert difference(model, made, False) <= 1e-4
        assert any("takes no attention mask" in note for note in made.notes)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_table_of_relative_positions_bounds_the_clips_of_a_graph(tmp_path):
    model = pruned("wav2vec2-conformer", max_source_positions=160, num_hidden_layers=1)  # 3.2 s
    made = write_export(model, tmp_path / "out", "torchscript", processor=NORMALISED)
    assert difference(model, made, False) <= 1e-4
    assert any("relative positions for 160 frames" in note for note in made.notes)
    with pytest.raises(RuntimeError):
        difference(model, made, False, seconds=4.0)
    short = pruned("wav2vec2-conformer", num_hidden_layers=1)
    with pytest.raises(ExportError, match=r"does not run on|gives the shape"):  # the comparison has 3 s
        write_export(short, tmp_path / "short", "torchscript", processor=NORMALISED)


def test_what_cannot_be_exported_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    model = tiny_model("hubert", "ForSequenceClassification")
    with pytest.raises(ExportError, match=r"'onxx' is not known; .* Did you mean 'onnx'\?"):
        write_export(model, tmp_path / "out", "onxx")
    with pytest.raises(ExportError, match="does not transcribe"):
        write_export(model, tmp_path / "out", "sherpa-onnx", processor=NORMALISED)
    with pytest.raises(ExportError, match="Linear is not a model of transformers"):
        write_export(torch.nn.Linear(2, 2), tmp_path / "out", "pt2")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="exists already"):
        write_export(model, tmp_path / "taken", "pt2")
    monkeypatch.setattr("prune_ssl.runtimes.registry.find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r"needs openvino, .*pip install 'prune_ssl\[openvino\]'"):
        write_export(model, tmp_path / "out", "openvino")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("out", [".", "..", "link"])
def test_an_export_never_replaces_the_folder_of_its_own_model(tmp_path, out):
    folder = tmp_path / "run" / "model"
    save_pretrained(tiny_model("hubert", "ForSequenceClassification"), folder)
    (tmp_path / "link").symlink_to(folder)
    place = tmp_path / "link" if out == "link" else folder / out
    for model in (folder, load_model(folder)):
        with pytest.raises(ExportError, match=r"holds the model .*, which an export in its place"):
            write_export(model, place, "pt2", overwrite=True)
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize(
    "verb", [lambda model, out: write_export(model, out, "pt2"), lambda model, out: quantize_(model, "int8")]
)
def test_a_model_with_a_weight_that_is_not_finite_is_named_as_the_cause(tmp_path, verb):
    model = tiny_model("hubert", "ForSequenceClassification")
    with torch.no_grad():
        model.classifier.weight[0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"not finite \(NaN or infinite\): classifier\.weight"):
        verb(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "error::prune_ssl.PruneWarning")
def test_a_pruned_model_is_written_without_weight_norm_and_without_a_warning(tmp_path):
    model = pruned("hubert", "Model")
    names = set(model.state_dict())
    assert any("parametrizations" in name for name in names)
    made = write_export(model, tmp_path / "out", "torchscript")
    written = torch.jit.load(made.file).state_dict()
    assert not any("parametrizations" in name for name in written)
    assert any(name.endswith("pos_conv_embed.conv.weight") for name in written)
    assert set(model.state_dict()) == names
