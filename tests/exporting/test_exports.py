"""Exports are the model: every family and target, pruned, on inputs that the export did not try."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

import prune_ssl
from prune_ssl.errors import ArtifactError, ExportError
from prune_ssl.exporting import TARGETS, export
from prune_ssl.exporting.inputs import as_feeds, example
from prune_ssl.exporting.sessions import OPENERS
from tests.support.models import HEADS, tiny_model

needs_onnx = pytest.mark.skipif(
    not all(map(find_spec, TARGETS["onnx"].packages)), reason="the extra onnx is not installed"
)
needs_openvino = pytest.mark.skipif(not find_spec("openvino"), reason="the extra openvino is not installed")
NORMALISED = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=False)


def pruned(family="hubert", head="ForCTC", norm="group", **more):
    model = tiny_model(family, head, norm, **more)
    graph = prune_ssl.trace(model)
    kinds = ["conv", "heads", "ffn"] if family != "wav2vec2-bert" else ["heads", "ffn"]
    keep = prune_ssl.select(model, graph, "params=70%", "random", 1, kinds)
    return prune_ssl.resize(model, graph, keep).eval()


def difference(model, exported, masked, seconds=1.81, rows=2):
    """Between the file and PyTorch, on an input that the export did not try, in the runtime."""
    kind = exported.target if exported.target in OPENERS else "onnx"
    inputs = example(model, seconds, rows, masked, seed=99)
    with torch.no_grad():
        wanted = model(**inputs)[0].numpy()
    found = OPENERS[kind](exported.file)(as_feeds(inputs))
    assert found.shape == wanted.shape
    return np.abs(found - wanted).max() / np.abs(wanted).max()


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("family", [name for name in HEADS if "torchaudio" not in name])
def test_onnx_is_the_pruned_model_in_every_family(tmp_path, family):
    head = "ForCTC" if "ForCTC" in HEADS[family] else HEADS[family][0]
    for norm in ("group", "layer"):
        model = pruned(family, head, norm)
        processor = Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer")
        if family == "wav2vec2-conformer":  # the exporter bakes a length into its graph
            with pytest.raises(ExportError, match="does not run on"):
                export(model, tmp_path / norm, "onnx", processor=processor)
            continue
        made = export(model, tmp_path / norm, "onnx", processor=processor)
        assert difference(model, made, norm == "layer") <= 1e-4


@needs_onnx
@pytest.mark.slow
@pytest.mark.parametrize("head", ["ForXVector", "ForSequenceClassification", "Model"])
def test_heads_are_exported(tmp_path, head):
    model = pruned("wav2vec2", head)
    made = export(model, tmp_path / "out", "onnx", processor=NORMALISED)
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
    made = export(model, tmp_path / "out", target, processor=NORMALISED)
    assert difference(model, made, False) <= 1e-4
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


@needs_onnx
@pytest.mark.slow
def test_integers_make_the_file_smaller_and_keep_the_output_near(tmp_path):
    model = pruned("hubert", "ForCTC", hidden_size=128, intermediate_size=512, num_attention_heads=4)
    whole = export(model, tmp_path / "whole", "onnx", processor=NORMALISED)
    small = export(model, tmp_path / "small", "onnx-int8", processor=NORMALISED)
    assert small.size_bytes < 0.7 * whole.size_bytes
    assert 1e-5 < difference(model, small, False) < 0.1


@pytest.mark.slow
@needs_onnx
def test_a_graph_that_differs_is_not_kept(tmp_path, monkeypatch):
    """As where an exporter leaves dropout on, or bakes a length in."""
    model = pruned()
    real = OPENERS["onnx"]
    monkeypatch.setitem(OPENERS, "onnx", lambda path: lambda feeds: real(path)(feeds) * 1.001)
    with pytest.raises(ExportError, match=r"off by 1\.0e-03 .* it was not kept"):
        export(model, tmp_path / "out", "onnx", processor=NORMALISED)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    model = tiny_model("hubert", "ForSequenceClassification")
    with pytest.raises(ExportError, match=r"'onxx' is not known; .* Did you mean 'onnx'\?"):
        export(model, tmp_path / "out", "onxx")
    with pytest.raises(ExportError, match="does not transcribe"):
        export(model, tmp_path / "out", "sherpa-onnx", processor=NORMALISED)
    with pytest.raises(ExportError, match="Linear is not a model of transformers"):
        export(torch.nn.Linear(2, 2), tmp_path / "out", "pt2")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="exists already"):
        export(model, tmp_path / "taken", "pt2")
    monkeypatch.setattr("prune_ssl.exporting.targets.find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r"needs openvino, .*pip install 'prune_ssl\[openvino\]'"):
        export(model, tmp_path / "out", "openvino")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


# -- speech runtimes

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abcdefgh'"]


def transcriber(folder: Path):
    """A random CTC model that gives many letters, saved with its processor, and texts of three clips."""
    (folder / "vocab.json").write_text(json.dumps({letter: index for index, letter in enumerate(LETTERS)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    model = pruned("hubert", "ForCTC", vocab_size=len(LETTERS) + 2, pad_token_id=0)
    processor = Wav2Vec2Processor(NORMALISED, tokenizer)
    prune_ssl.save_pretrained(model, folder / "model", processor=processor)
    clips = [np.random.default_rng(seed).standard_normal(16_000 + 3_000 * seed) for seed in range(3)]
    texts = []
    for clip in clips:
        inputs = processor(clip, sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits
        logits[..., [1, 2, 3, len(LETTERS), len(LETTERS) + 1]] = -torch.inf
        texts.append(processor.decode(logits.argmax(-1)[0]))
    assert len(set(texts)) == 3
    return folder / "model", [clip.astype(np.float32) for clip in clips], texts


@needs_onnx
@pytest.mark.slow
@pytest.mark.skipif(not find_spec("sherpa_onnx"), reason="sherpa-onnx is not installed")
def test_sherpa_onnx_writes_what_pytorch_writes(tmp_path):
    import sherpa_onnx

    source, clips, texts = transcriber(tmp_path)
    made = export(source, tmp_path / "out", "sherpa-onnx")
    recogniser = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc(
        model=str(made.file), tokens=str(tmp_path / "out" / "tokens.txt")
    )
    for clip, text in zip(clips, texts, strict=True):
        stream = recogniser.create_stream()
        stream.accept_waveform(16_000, clip)
        recogniser.decode_stream(stream)
        assert stream.result.text.split() == text.split()


@pytest.mark.slow
@needs_onnx
@pytest.mark.skipif(not find_spec("onnx_asr"), reason="onnx-asr is not installed")
def test_onnx_asr_writes_what_pytorch_writes(tmp_path, monkeypatch):
    source, clips, texts = transcriber(tmp_path)
    export(source, tmp_path / "out", "onnx-asr")
    monkeypatch.syspath_prepend(tmp_path / "out")
    waveform_ctc = __import__("waveform_ctc")
    sys.modules.pop("waveform_ctc")
    found = waveform_ctc.load(tmp_path / "out").recognize(clips, sample_rate=16_000)
    assert [text.split() for text in found] == [text.split() for text in texts]


@needs_onnx
@pytest.mark.parametrize("target", ["sherpa-onnx", "onnx-asr"])
def test_a_model_that_hears_raw_loudness_is_refused_for_runtimes_that_normalise(tmp_path, target):
    source, _, _ = transcriber(tmp_path)
    processor = Wav2Vec2Processor(
        Wav2Vec2FeatureExtractor(do_normalize=False), Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"))
    )
    with pytest.raises(ExportError, match=r"normalises audio [^(]*\(do_normalize=False"):
        export(prune_ssl.load_pretrained(source), tmp_path / "out", target, processor=processor)
