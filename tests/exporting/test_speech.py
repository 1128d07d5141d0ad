"""Exports for speech runtimes: they write what PyTorch writes, or are refused."""

import sys
from importlib.util import find_spec

import pytest
from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

import prune_ssl
from prune_ssl.errors import ExportError
from prune_ssl.exporting import write_export
from tests.support.exporting import needs_onnx
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
