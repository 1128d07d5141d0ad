"""Frozen states are those of the clip alone, and kept."""

from pathlib import Path

import numpy as np
import torch

from prune_ssl.data import Clip, SpeechCollator
from prune_ssl.probing.states import FrozenStates
from tests.support.models import tiny_model
from tests.support.probing import EXTRACTOR


def test_states_are_those_of_the_clip_alone_and_kept() -> None:
    model = tiny_model("hubert", "ForSequenceClassification")
    states = FrozenStates(model.train(), SpeechCollator(EXTRACTOR))
    clips = [
        Clip(Path(f"{length}.wav"), "a", length / 16_000, samples=np.random.randn(length).astype(np.float32))
        for length in (4_000, 6_400)
    ]
    batch, frames = states.batch(clips)
    assert frames.tolist() == [12, 19]
    assert batch.shape == (2, model.config.num_hidden_layers + 1, 19, model.config.hidden_size)
    assert batch[0, :, 12:].abs().max() == 0
    wave = torch.from_numpy(clips[0].waveform())
    wave = ((wave - wave.mean()) / (wave.var(correction=0) + 1e-7).sqrt())[None]
    with torch.no_grad():
        wanted = torch.cat(model.eval().hubert(wave, output_hidden_states=True).hidden_states)
    torch.testing.assert_close(batch[0, :, :12], wanted, rtol=0, atol=1e-5)
    assert states.of_clip(clips[0]) is states.of_clip(clips[0])
    short = FrozenStates(model, SpeechCollator(EXTRACTOR), memory_bytes=10)
    assert not short.kept
    assert torch.equal(short.of_clip(clips[0]), states.of_clip(clips[0]))
    assert not short.kept
