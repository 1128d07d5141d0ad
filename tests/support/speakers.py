"""Speakers that differ in pitch, and an encoder that tells them apart after seconds of training."""

from pathlib import Path

import numpy as np
from transformers import Wav2Vec2Config

from prune_ssl.data import Clip, SpeechFolder

SHORT = Wav2Vec2Config(
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    conv_dim=(8, 8, 8),
    conv_kernel=(10, 4, 4),
    conv_stride=(5, 4, 4),
    num_conv_pos_embeddings=8,
    num_conv_pos_embedding_groups=2,
    tdnn_dim=(16, 16, 16, 16, 24),
    xvector_output_dim=16,
    apply_spec_augment=False,
    layerdrop=0.0,
    hidden_dropout=0.0,
    feat_proj_dropout=0.0,
)
"""An encoder that learns in seconds: three convolutions of eight channels, two layers."""


def clips_of(split: str, *speakers: str, seconds: float = 0.6) -> tuple[Clip, ...]:
    """Harmonic tones: a speaker is a pitch, a clip a phase and some noise."""
    generator = np.random.default_rng(len(split))
    time = np.arange(round(16_000 * seconds)) / 16_000
    clips = []
    for index, speaker in enumerate(speakers):
        hz = {"low": 150, "high": 1_500, "mid": 500}[speaker]
        wave = np.sin(2 * np.pi * hz * time + index) + 0.05 * generator.standard_normal(len(time))
        path = Path(f"voices/{split}/{index}.wav")
        clips.append(Clip(path, speaker, seconds, speaker, samples=wave.astype(np.float32)))
    return tuple(clips)


TRAIN = clips_of("train", *(["low", "high"] * 4))


TEST = clips_of("test", *(["high", "low"] * 3))


FOLDER = SpeechFolder(Path("voices"), {"train": TRAIN, "test": TEST}, ())
