"""Owns random changes of training audio: speed, shift, reverberation, gain and noise.

All randomness comes from torch's global generator: a DataLoader seeds it per worker, and a Trainer saves
and restores it, so that a resumed run sees the same audio.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import numpy as np
import torch
import torchaudio

from prune_ssl.data.audio import SAMPLE_RATE_HZ, Waveform
from prune_ssl.data.corruption import check_pairs, check_range, reverberate, simulated_rir
from prune_ssl.data.recordings import Recordings
from prune_ssl.data.resampling import resampled
from prune_ssl.errors import DataError
from prune_ssl.models.arguments import check_types


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes of training clips, anew each time that one is heard; checked when made.

    The defaults are for few clips, from scratch.

    Raises:
        DataError: a value of a wrong type or out of range, a range that is upside down, or a folder that is
            never heard.
    """

    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)
    """Playing speeds to draw from; they change the pitch too."""
    max_shift_seconds: float = 0.1
    """The clip moves by up to this much to either side; zeros fill the gap."""
    max_gain_db: float = 6.0
    """Gain is drawn from -max to +max."""
    noise_probability: float = 0.5
    """How often noise is added."""
    snr_db: tuple[float, float] = (10.0, 40.0)
    """Signal-to-noise ratio is drawn from this range."""
    noise: str | Path | None = None
    """Folder of noise recordings (MUSAN, DEMAND, one's own), with its subfolders; None: white noise."""
    reverb_probability: float = 0.0
    """How often a clip is heard in a room."""
    rirs: str | Path | None = None
    """Folder of room impulse responses; None: simulated ones."""
    rt60_seconds: tuple[float, float] = (0.2, 0.8)
    """Range of reverberation times of simulated rooms."""

    def __post_init__(self) -> None:
        check_types(self, DataError)
        if not self.speeds or min(self.speeds) <= 0:
            raise DataError(
                f"speeds: found {list(self.speeds)}, wanted speeds above 0, such as 0.9, 1.0, 1.1."
            )
        if not all(0.1 <= speed <= 10 for speed in self.speeds):
            raise DataError(f"speeds: found {list(self.speeds)}, wanted some from 0.1 to 10.")
        check_range(self, "max_shift_seconds", 0, inf)
        check_range(self, "max_gain_db", 0, inf)
        check_range(self, "noise_probability", 0, 1)
        check_range(self, "reverb_probability", 0, 1)
        check_pairs(self)
        for name, chance in (("noise", "noise_probability"), ("rirs", "reverb_probability")):
            folder = getattr(self, name)
            if folder is not None and getattr(self, chance) == 0:
                raise DataError(f"{name}: found {folder}, but {chance} is 0: raise it, or leave {name} out.")


@dataclass(frozen=True, kw_only=True)
class Augmentation(AugmentConfig):
    """The changes of an `AugmentConfig`, with its folders listed; calling it changes one clip.

    Raises:
        DataError: as `AugmentConfig`, or a folder without audio.
    """

    _noises: Recordings | None = field(init=False, repr=False, default=None)
    _rooms: Recordings | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        for kept, folder in (("_noises", self.noise), ("_rooms", self.rirs)):
            object.__setattr__(self, kept, None if folder is None else Recordings.of(Path(folder)))

    def __call__(self, samples: Waveform) -> Waveform:
        """Return a changed copy of `samples` (N,); the length changes with the speed only."""
        audio = torch.from_numpy(samples)
        speed = self.speeds[int(torch.randint(len(self.speeds), ()))]
        if speed != 1.0:
            audio = torch.from_numpy(resampled(samples, int(speed * SAMPLE_RATE_HZ), SAMPLE_RATE_HZ))
        audio = self._in_a_room(self._shifted(audio))
        audio = audio * 10 ** (_uniform(-self.max_gain_db, self.max_gain_db) / 20)
        if _uniform(0.0, 1.0) < self.noise_probability:
            noise = torch.randn_like(audio) if self._noises is None else self._noises.piece(len(audio))
            snr_db = torch.tensor(_uniform(*self.snr_db))
            if bool(noise.any()):  # not a silent piece of a recording
                audio = torchaudio.functional.add_noise(audio, noise, snr_db)
        return np.asarray(audio.numpy(), dtype=np.float32)

    def _in_a_room(self, audio: torch.Tensor) -> torch.Tensor:
        # Without rooms nothing is drawn: what a seed gives does not depend on what is switched off.
        if self.reverb_probability == 0 or _uniform(0.0, 1.0) >= self.reverb_probability:
            return audio
        if self._rooms is not None:
            return reverberate(audio, self._rooms.whole())
        return reverberate(audio, simulated_rir(_uniform(*self.rt60_seconds)))

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
