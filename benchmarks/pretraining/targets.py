"""The targets of masked prediction: clusters of MFCC, or of a layer's states, for every frame."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torchaudio
from transformers import HubertConfig, HubertModel

from pretraining.audio import SAMPLE_RATE_HZ, Store
from pretraining.model import HOP, frames_of, receptive_field
from prune_ssl.writing import new_file

COEFFICIENTS = 13
WINDOW = 400
STEPS_OF_A_FRAME = 2
"""MFCC are computed every 10 ms, as their differences over time need, and every second one is kept."""
FITTED_FRAMES = 200_000
ROUNDS = 30
Features = Callable[[npt.NDArray[np.float32]], torch.Tensor]
"""Makes the features (T, F) of a clip's samples (N,)."""


class Mfcc:
    """MFCC with first and second differences (T, 39), each centred on a frame of the frontend."""

    def __init__(self, config: HubertConfig) -> None:
        self.config = config
        self.skipped = (receptive_field(config) - WINDOW) // 2
        self.transform = torchaudio.transforms.MFCC(
            SAMPLE_RATE_HZ,
            COEFFICIENTS,
            melkwargs={
                "n_fft": WINDOW,
                "hop_length": HOP // STEPS_OF_A_FRAME,
                "n_mels": 40,
                "center": False,
            },
        )

    def __call__(self, samples: npt.NDArray[np.float32]) -> torch.Tensor:
        found = self.transform(torch.from_numpy(samples[self.skipped :]))
        slopes = torchaudio.functional.compute_deltas(found)
        bends = torchaudio.functional.compute_deltas(slopes)
        kept = torch.cat([found, slopes, bends])[:, ::STEPS_OF_A_FRAME].T
        return kept[: frames_of(len(samples), self.config)]


class States:
    """The states of a layer of a pretrained model (T, D)."""

    def __init__(self, model: HubertModel, layer: int) -> None:
        self.model, self.layer = model.eval(), layer

    @torch.no_grad()
    def __call__(self, samples: npt.NDArray[np.float32]) -> torch.Tensor:
        found = self.model(torch.from_numpy(samples)[None], output_hidden_states=True)
        return found.hidden_states[self.layer][0]


def make_targets(store: Store, features: Features, clusters: int, path: Path, seed: int = 0) -> None:
    """Write the cluster of every frame, clip after clip, as int16; a file that is there stays.

    The features of each speaker get mean 0 and variance 1 before they are clustered.
    """
    if path.is_file():
        return
    found = [features(store.clip(index)) for index in range(len(store.pieces))]
    _normalise_(found, [piece.speaker or f"{piece.corpus}/{piece.name}" for piece in store.pieces])
    frames = torch.cat(found)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(frames), generator=generator)[:FITTED_FRAMES]
    centres = k_means(frames[drawn], clusters, generator)
    assigned = torch.cat([nearest(part, centres) for part in frames.split(FITTED_FRAMES)])
    with new_file(path) as new:
        assigned.numpy().astype(np.int16).tofile(new)


def _normalise_(features: list[torch.Tensor], speakers: list[str]) -> None:
    by_speaker: dict[str, list[torch.Tensor]] = {}
    for each, speaker in zip(features, speakers, strict=True):
        by_speaker.setdefault(speaker, []).append(each)
    for clips in by_speaker.values():
        whole = torch.cat(clips)
        mean, deviation = whole.mean(0), whole.std(0).clamp(min=1e-5)
        for clip in clips:
            clip.sub_(mean).div_(deviation)


def k_means(points: torch.Tensor, clusters: int, generator: torch.Generator) -> torch.Tensor:
    """Return the centres (K, F) of points (N, F) by Lloyd's algorithm; an empty cluster is drawn anew."""
    centres = points[torch.randperm(len(points), generator=generator)[:clusters]].clone()
    for _ in range(ROUNDS):
        assigned = nearest(points, centres)
        sums = torch.zeros_like(centres).index_add_(0, assigned, points)
        counts = assigned.bincount(minlength=len(centres))
        centres = sums / counts.clamp(min=1)[:, None]
        empty = counts == 0
        drawn = torch.randint(len(points), (int(empty.sum()),), generator=generator)
        centres[empty] = points[drawn]
    return centres


def nearest(points: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Return the place of the nearest centre (N,) of points (N, F)."""
    return (centres.square().sum(1) - 2 * points @ centres.T).argmin(1)
