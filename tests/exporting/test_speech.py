"""Exports for speech runtimes: they write what PyTorch writes, or are refused."""

import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

import prune_ssl
from prune_ssl.errors import ExportError
from prune_ssl.exporting import write_export
from prune_ssl.exporting.speech import renormalise_
from tests.support.exporting import NORMALISED, needs_onnx
from tests.support.models import tiny_model
from tests.support.transcribers import transcriber


@needs_onnx
@pytest.mark.slow
@pytest.mark.skipif(not find_spec("sherpa_onnx"), reason="sherpa-onnx is not installed")
def test_sherpa_onnx_writes_what_pytorch_writes(tmp_path):
    import sherpa_onnx

    source, clips, texts = transcriber(tmp_path)
    made = write_export(source, tmp_path / "out", "sherpa-onnx")
    recogniser = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc(
        model=str(made.file), tokens=str(tmp_path / "out" / "tokens.txt")
    )
    streams = [recogniser.create_stream() for _ in clips]
    for stream, clip in zip(streams, clips, strict=True):
        stream.accept_waveform(16_000, clip)
    recogniser.decode_streams(streams)  # of unequal lengths: none hears the padding of another
    for stream, text in zip(streams, texts, strict=True):
        assert stream.result.text.split() == text.split()


@pytest.mark.slow
@needs_onnx
@pytest.mark.skipif(not find_spec("onnx_asr"), reason="onnx-asr is not installed")
def test_onnx_asr_writes_what_pytorch_writes(tmp_path, monkeypatch):
    source, clips, texts = transcriber(tmp_path)
    write_export(source, tmp_path / "out", "onnx-asr")
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
        write_export(prune_ssl.load_pretrained(source), tmp_path / "out", target, processor=processor)


@pytest.mark.parametrize("family", ["hubert", "sew"])
def test_a_graph_for_sherpa_hears_quiet_speech_as_it_is_trained(family):
    model = tiny_model(family, "ForCTC")
    clip = 3e-3 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    heard = torch.from_numpy((clip - clip.mean()) / np.sqrt(clip.var() + 1e-5))[None]
    own = model.eval()(**NORMALISED(clip, sampling_rate=16_000, return_tensors="pt")).logits
    without = model(heard).logits
    renormalise_(model)
    assert (model(heard).logits - own).abs().max() < 0.1 * (without - own).abs().max()
