"""Owns random changes of training audio: speed, shift, gain and noise.

All randomness comes from torch's global generator: a DataLoader seeds it per worker, and a Trainer saves
and restores it, so that a resumed run sees the same audio.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torchaudio

from prune_ssl.data.audio import SAMPLE_RATE_HZ, Waveform


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Simple changes for training from scratch on few clips; calling it changes one clip.

    Raises:
        ValueError: a bound is negative, or a speed is not positive.
    """

    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)
    """Playing speeds to draw from; they change the pitch too."""
    max_shift_seconds: float = 0.1
    """The clip moves by up to this much to either side; zeros fill the gap."""
    max_gain_db: float = 6.0
    """Gain is drawn from -max to +max."""
    noise_probability: float = 0.5
    """How often white noise is added."""
    snr_db: tuple[float, float] = (10.0, 40.0)
    """Signal-to-noise ratio is drawn from this range."""

    def __post_init__(self) -> None:
        if (
            min(self.max_shift_seconds, self.max_gain_db, self.noise_probability, *self.speeds) < 0
            or 0 in self.speeds
        ):
            raise ValueError(f"Augmentation: no bound may be negative and no speed 0, got {self}")

    def __call__(self, samples: Waveform) -> Waveform:
        """Return a changed copy of `samples` (N,); the length changes with the speed only."""
        audio = torch.from_numpy(samples)
        speed = self.speeds[int(torch.randint(len(self.speeds), ()))]
        if speed != 1.0:
            audio, _ = torchaudio.functional.speed(audio, SAMPLE_RATE_HZ, speed)
        audio = self._shifted(audio)
        audio = audio * 10 ** (_uniform(-self.max_gain_db, self.max_gain_db) / 20)
        if _uniform(0.0, 1.0) < self.noise_probability:
            noise = torch.randn_like(audio)
            snr_db = torch.tensor(_uniform(*self.snr_db))
            audio = torchaudio.functional.add_noise(audio, noise, snr_db)
        return np.asarray(audio.numpy(), dtype=np.float32)

    def _shifted(self, audio: torch.Tensor) -> torch.Tensor:
        # Not more than a quarter of the clip: a short word must not leave its own window.
        limit = min(int(self.max_shift_seconds * SAMPLE_RATE_HZ), audio.shape[-1] // 4)
        shift = int(torch.randint(-limit, limit + 1, ()))
        shifted = torch.zeros_like(audio)
        if shift >= 0:
            shifted[shift:] = audio[: audio.shape[-1] - shift]
        else:
            shifted[:shift] = audio[-shift:]
        return shifted


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
