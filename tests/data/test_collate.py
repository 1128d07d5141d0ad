"""Batches of clips: how they are normalised, padded and masked."""

import torch

from prune_ssl.data import SpeechCollator


def test_collated_lengths_are_samples_without_padding():
    items = [{"input_values": torch.randn(n).numpy(), "labels": 0} for n in (700, 500)]
    batch = SpeechCollator(lengths=True)(items)
    assert batch["input_lengths"].tolist() == [700, 500]
    assert "input_lengths" not in SpeechCollator()(items)
