"""Exports for speech runtimes: they write what PyTorch writes, or are refused."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

import prune_ssl
from prune_ssl.errors import ExportError
from prune_ssl.exporting import write_export
from tests.support.exporting import NORMALISED, needs_onnx, pruned

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
