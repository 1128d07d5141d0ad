"""Augmentation of training audio: random speed, shift, reverberation, gain and noise.

All randomness comes from torch's global generator. A DataLoader seeds it per worker, and a Trainer saves
and restores it. A resumed run therefore sees the same audio.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf

import numpy as np
import torch
import torchaudio

from prune_ssl.data.audio import SAMPLE_RATE_HZ, Waveform
from prune_ssl.data.corruption import check_pairs, check_range, reverberate, simulated_rir
from prune_ssl.data.recordings import Recordings, Rooms, Sources
from prune_ssl.data.resampling import resampled
from prune_ssl.errors import DataError
from prune_ssl.models.arguments import check_types


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Settings of augmentation. Each clip is changed at random again every time that it is read.

    The defaults suit small corpora and models that are trained from scratch.

    Raises:
        DataError: a value has a wrong type or is out of range, the ends of a range are swapped, or a folder
            is given whose probability is 0.

    >>> AugmentConfig(speeds=(1.0,), max_gain_db=3.0).max_gain_db
    3.0
    """

    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)
    """Playing speeds to draw from. A speed changes the pitch too."""
    max_shift_seconds: float = 0.1
    """The clip is shifted by up to this many seconds to either side. Zeros fill the gap."""
    max_gain_db: float = 6.0
    """The gain is drawn from -max_gain_db to +max_gain_db."""
    noise_probability: float = 0.5
    """Probability that noise is added to a clip."""
    snr_db: tuple[float, float] = (10.0, 40.0)
    """Range of the signal-to-noise ratio."""
    noise: Sources | None = None
    """Noise files, such as MUSAN's or DEMAND's: a folder (subfolders are read too), a pattern, or a list of
    these. None: white noise."""
    reverb_probability: float = 0.0
    """Probability that reverberation is added to a clip."""
    rirs: Sources | None = None
    """Room impulse responses, given like `noise`. Files that hold noise are refused. None: simulated ones."""
    rt60_seconds: tuple[float, float] = (0.2, 0.8)
    """Range of the reverberation time of simulated rooms."""

    def __post_init__(self) -> None:
        check_types(self, DataError)
        if not self.speeds or min(self.speeds) <= 0:
            raise DataError(
                f"speeds: found {list(self.speeds)}, wanted speeds above 0, such as 0.9, 1.0, 1.1."
            )
        if not all(0.1 <= speed <= 10 for speed in self.speeds):
            raise DataError(f"speeds: found {list(self.speeds)}, wanted speeds from 0.1 to 10.")
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
    """An `AugmentConfig` whose folders have been listed. Call it with the samples of a clip to change them.

    Raises:
        DataError: as `AugmentConfig`, or a folder has no audio.

    >>> clip = np.zeros(16_000, dtype=np.float32)
    >>> Augmentation(speeds=(1.0,))(clip).shape
    (16000,)
    """

    _noises: Recordings | None = field(init=False, repr=False, default=None)
    _rooms: Rooms | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise is not None:
            object.__setattr__(self, "_noises", Recordings.of(self.noise))
        if self.rirs is not None:
            object.__setattr__(self, "_rooms", Rooms.of(self.rirs))

    def __call__(self, samples: Waveform) -> Waveform:
        """Return a changed copy of `samples`, shape (N,). Only the speed changes the length."""
        audio = torch.from_numpy(samples)
        speed = self.speeds[int(torch.randint(len(self.speeds), ()))]
        if speed != 1.0:
            audio = torch.from_numpy(resampled(samples, int(speed * SAMPLE_RATE_HZ), SAMPLE_RATE_HZ))
        audio = self._reverberated(self._shifted(audio))
        audio = audio * 10 ** (_uniform(-self.max_gain_db, self.max_gain_db) / 20)
        if _uniform(0.0, 1.0) < self.noise_probability:
            noise = torch.randn_like(audio) if self._noises is None else self._noises.piece(len(audio))
            snr_db = torch.tensor(_uniform(*self.snr_db))
            if bool(noise.any()):  # a piece of a recording may be silent
                audio = torchaudio.functional.add_noise(audio, noise, snr_db)
        return np.asarray(audio.numpy(), dtype=np.float32)

    def _reverberated(self, audio: torch.Tensor) -> torch.Tensor:
        # No number is drawn if reverberation is off, so that it does not alter the other draws of a seed.
        if self.reverb_probability == 0 or _uniform(0.0, 1.0) >= self.reverb_probability:
            return audio
        if self._rooms is not None:
            return reverberate(audio, self._rooms.whole())
        return reverberate(audio, simulated_rir(_uniform(*self.rt60_seconds)))

    def _shifted(self, audio: torch.Tensor) -> torch.Tensor:
        # The shift is at most a quarter of the clip, so that a short word stays inside it.
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
