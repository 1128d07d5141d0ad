"""Clips of noise with transcripts."""

from pathlib import Path

import numpy as np

from prune_ssl.data import Clip, SpeechFolder


def clips_of(*texts: str, seconds: float = 0.5) -> tuple[Clip, ...]:
    generator = np.random.default_rng(0)
    lengths = [round(16_000 * (seconds + 0.05 * index)) for index in range(len(texts))]
    return tuple(
        Clip(
            Path(f"{index}.wav"),
            text,
            length / 16_000,
            samples=generator.standard_normal(length).astype(np.float32),
        )
        for index, (text, length) in enumerate(zip(texts, lengths, strict=True))
    )


def folder_of(*texts: str) -> SpeechFolder:
    return SpeechFolder(Path("texts"), {"train": clips_of(*texts)}, ())
