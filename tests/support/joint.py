"""Clips of a word and a speaker, each a pitch of its own."""

from copy import deepcopy
from pathlib import Path

import numpy as np
from transformers import Wav2Vec2Model

from prune_ssl.data import Clip, SpeechFolder
from prune_ssl.tasks import TaskSettings
from tests.support.speakers import SHORT

SETTINGS = TaskSettings(target="label|speaker", weights=(1.0, 0.5))


def clips_of(split: str, count: int) -> tuple[Clip, ...]:
    """A word is the pitch of one tone, a speaker that of another."""
    generator = np.random.default_rng(len(split))
    time = np.arange(9_600) / 16_000
    clips = []
    for index in range(count):
        word, speaker = ("no", "yes")[index % 2], ("ann", "bob")[index // 2 % 2]
        wave = np.sin(2 * np.pi * {"no": 200, "yes": 900}[word] * time + index)
        wave = wave + np.sin(2 * np.pi * {"ann": 2_500, "bob": 6_000}[speaker] * time + 2 * index)
        wave = wave + 0.05 * generator.standard_normal(len(time))
        path = Path(f"joint/{split}/{index}.wav")
        clips.append(Clip(path, f"{word}|{speaker}", 0.6, speaker, samples=wave.astype(np.float32)))
    return tuple(clips)


TRAIN, TEST = clips_of("train", 16), clips_of("test", 8)


FOLDER = SpeechFolder(Path("joint"), {"train": TRAIN, "test": TEST}, ())


def small_model() -> Wav2Vec2Model:
    return Wav2Vec2Model(deepcopy(SHORT))
