"""Batches of clips: how they are normalised, padded and masked."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

from prune_ssl.data import SpeechCollator
from prune_ssl.errors import DataError


def test_collated_lengths_are_samples_without_padding():
    items = [{"input_values": torch.randn(n).numpy(), "labels": 0} for n in (700, 500)]
    batch = SpeechCollator(lengths=True)(items)
    assert batch["input_lengths"].tolist() == [700, 500]
    assert "input_lengths" not in SpeechCollator()(items)


def items(*lengths: int) -> list[dict[str, object]]:
    generator = np.random.default_rng(0)
    return [
        {"input_values": (3 + 0.1 * generator.standard_normal(length)).astype(np.float32), "labels": index}
        for index, length in enumerate(lengths)
    ]


def test_each_clip_is_normalized_by_its_own_samples() -> None:
    batch = SpeechCollator()(items(500, 900))
    assert set(batch) == {"input_values", "labels"}
    assert batch["input_values"].shape == (2, 900)
    assert batch["labels"].tolist() == [0, 1]
    short = batch["input_values"][0]
    assert torch.all(short[500:] == 0)
    assert short[:500].mean().abs() < 1e-4
    assert short[:500].std(correction=0) == pytest.approx(1.0, abs=1e-3)
    alone = SpeechCollator()(items(500))
    torch.testing.assert_close(short[:500], alone["input_values"][0], rtol=0, atol=0)


def test_the_feature_extractor_decides_on_normalization_and_mask() -> None:
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True)
    given = items(500, 900)
    batch = SpeechCollator(extractor)(given)
    np.testing.assert_array_equal(batch["input_values"][1].numpy(), given[1]["input_values"])
    assert batch["attention_mask"].sum(dim=1).tolist() == [500, 900]
    assert "attention_mask" not in SpeechCollator(extractor, attention_mask=False)(given)


def test_a_processor_gives_its_feature_extractor(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text('{"<pad>": 0, "<unk>": 1, "a": 2, "|": 3}')
    tokenizer = Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"))
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True)
    collator = SpeechCollator(Wav2Vec2Processor(extractor, tokenizer))
    assert "attention_mask" in collator(items(500))


def test_a_feature_extractor_for_another_rate_is_refused() -> None:
    with pytest.raises(DataError, match="made for 8000 Hz and the clips are at 16000 Hz"):
        SpeechCollator(Wav2Vec2FeatureExtractor(sampling_rate=8_000))


def test_a_processor_of_another_kind_is_refused() -> None:
    with pytest.raises(DataError, match=r"one of Wav2Vec2FeatureExtractor, .* is wanted"):
        SpeechCollator(object())  # type: ignore[arg-type]
