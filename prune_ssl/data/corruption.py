"""Corrupted audio for robust distillation: noise at a random SNR, reverberation, or both.

The student gets the corrupted clip, the teacher the clean one (RobustDistiller, Guimaraes et al. 2023). As in
`augmentation`, all randomness comes from torch's global generator.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, sqrt
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
import torchaudio
from torch.utils.data import Dataset

from prune_ssl.data.audio import SAMPLE_RATE_HZ, Item, Waveform
from prune_ssl.data.recordings import Recordings, Rooms, Sources
from prune_ssl.errors import DataError
from prune_ssl.models.arguments import check_types

CASES: tuple[Literal["noise", "reverb", "both", "clean"], ...] = ("noise", "reverb", "both", "clean")


class RoomsAndNoise(Protocol):
    """Settings that have a range of signal-to-noise ratios and a range of reverberation times."""

    @property
    def snr_db(self) -> tuple[float, float]:
        """Range of the signal-to-noise ratio, low to high."""
        ...

    @property
    def rt60_seconds(self) -> tuple[float, float]:
        """Range of the reverberation time, low to high."""
        ...


@dataclass(frozen=True, kw_only=True)
class CorruptionConfig:
    """Settings of the noise and reverberation that the student of a distillation hears.

    Raises:
        DataError: `cases` is empty or has an unknown case, a value has a wrong type or is out of range, or
            the ends of a range are swapped.

    >>> CorruptionConfig(snr_db=(5.0, 15.0), cases=("noise",)).snr_db
    (5.0, 15.0)
    """

    noise: Sources | None = None
    """Noise files: a folder (subfolders are read too), a pattern, or a list of these. None: white noise."""
    rirs: Sources | None = None
    """Room impulse responses, given like `noise`. Files that hold noise are refused. None: simulated ones."""
    snr_db: tuple[float, float] = (0.0, 20.0)
    """Range of the signal-to-noise ratio, drawn uniformly. Powers are means over the clip."""
    cases: tuple[Literal["noise", "reverb", "both", "clean"], ...] = CASES
    """The possible corruptions, drawn with equal probability. `both` is noise and reverberation."""
    order: Literal["room_first", "noise_first"] = "room_first"
    """The order of `both`. With `room_first` the noise is heard dry, as at the microphone. With `noise_first`
    (RobustDistiller) speech and noise are heard in one room, and the SNR is that before the room."""
    white_probability: float = 0.3
    """Probability of white noise although there are noise files (RobustDistiller: 0.3)."""
    rt60_seconds: tuple[float, float] = (0.2, 0.8)
    """Range of the reverberation time of simulated rooms."""
    curriculum: float = 0.0
    """The share of training over which the corruption grows (an option of RobustDistiller). The lower end of
    `snr_db` starts at the upper end and falls to its value, and the probability of reverberation in the cases
    that have it rises from 0 to 1. With 0 the corruption has its full strength at once."""

    def __post_init__(self) -> None:
        check_types(self, DataError, but=("cases",))
        object.__setattr__(self, "cases", tuple(self.cases))
        wrong = [case for case in self.cases if case not in CASES]
        if wrong or not self.cases:
            raise DataError(f"cases: found {list(self.cases)}, wanted some of {', '.join(CASES)}.")
        check_pairs(self)
        check_range(self, "white_probability", 0, 1)
        if not 0 <= self.curriculum <= 1:
            raise DataError(f"curriculum: found {self.curriculum}, wanted a share of training, 0 to 1.")


def check_pairs(settings: RoomsAndNoise) -> None:
    """Refuse a range whose ends are swapped.

    Raises:
        DataError: the low end is above the high end, or a reverberation time is not positive.
    """
    for name, (low, high) in (("snr_db", settings.snr_db), ("rt60_seconds", settings.rt60_seconds)):
        if low > high or (name == "rt60_seconds" and low <= 0):
            raise DataError(f"{name}: found {low} to {high}, wanted a range from low to high.")


def check_range(settings: object, name: str, least: float, most: float) -> None:
    """Refuse a setting whose value lies outside `least` to `most`.

    Raises:
        DataError: the value is out of range.
    """
    found = getattr(settings, name)
    if not least <= found <= most:
        wanted = f"{least:g} or more" if most == inf else f"a number from {least:g} to {most:g}"
        raise DataError(f"{name}: found {found}, wanted {wanted}.")


@dataclass(frozen=True, kw_only=True)
class Corruption(CorruptionConfig):
    """A `CorruptionConfig` whose files have been listed. Call it with the samples of a clip to corrupt them.

    A file is decoded when it is drawn, so a corpus of noise need not fit into memory.

    Raises:
        DataError: as `CorruptionConfig`, a source has no usable audio, or a room is a recording of noise.

    >>> clip = np.ones(16_000, dtype=np.float32)
    >>> Corruption(cases=("noise",))(clip).shape
    (16000,)
    """

    sample_rate_hz: int = SAMPLE_RATE_HZ
    """The rate of the clips."""
    _noises: Recordings | None = field(init=False, repr=False, default=None)
    _rooms: Rooms | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise is not None:
            object.__setattr__(self, "_noises", Recordings.of(self.noise, self.sample_rate_hz))
        if self.rirs is not None:
            object.__setattr__(self, "_rooms", Rooms.of(self.rirs, self.sample_rate_hz))

    def __call__(self, samples: Waveform, progress: float = 1.0) -> Waveform:
        """Return a corrupted copy of `samples`, with the same length and aligned in time.

        Args:
            samples: Clean samples, shape (N,).
            progress: The share of training that is over, 0 to 1. Only a curriculum reads it.
        """
        grown = min(progress / self.curriculum, 1.0) if self.curriculum else 1.0
        case = self.cases[int(torch.randint(len(self.cases), ()))]
        audio = torch.from_numpy(np.asarray(samples, dtype=np.float32))
        steps = [self._in_a_room, self._with_noise]
        for step in steps if self.order == "room_first" else reversed(steps):
            audio = step(audio, case, grown)
        return np.array(audio.numpy(), dtype=np.float32)

    def _in_a_room(self, audio: torch.Tensor, case: str, grown: float) -> torch.Tensor:
        if case in ("reverb", "both") and (grown == 1 or float(torch.rand(())) < grown):
            return reverberate(audio, self._draw_rir())
        return audio

    def _with_noise(self, audio: torch.Tensor, case: str, grown: float) -> torch.Tensor:
        if case not in ("noise", "both"):
            return audio
        high = self.snr_db[1]
        low = high - grown * (high - self.snr_db[0])
        snr_db = low + (high - low) * float(torch.rand(()))
        return add_noise(audio, self._draw_noise(len(audio)), snr_db)

    def _draw_noise(self, samples: int) -> torch.Tensor:
        if self._noises is None or float(torch.rand(())) < self.white_probability:
            return torch.randn(samples)
        return self._noises.piece(samples)

    def _draw_rir(self) -> torch.Tensor:
        if self._rooms is not None:
            return self._rooms.whole()
        low, high = self.rt60_seconds
        return simulated_rir(low + (high - low) * float(torch.rand(())), self.sample_rate_hz)


def add_noise(audio: torch.Tensor, noise: torch.Tensor, snr_db: float) -> torch.Tensor:
    """Return audio (N,) + noise (N,) * sqrt(P_audio / P_noise * 10^(-SNR/10)). Silent noise adds nothing."""
    power = float(noise.square().mean())
    if power == 0:
        return audio
    return audio + noise * sqrt(float(audio.square().mean()) / power * 10 ** (-snr_db / 10))


def reverberate(audio: torch.Tensor, rir: torch.Tensor) -> torch.Tensor:
    """Convolve audio (N,) with an impulse response (M,), and keep its timing and its power.

    The strongest sample of the response is taken as the direct path and moved to time 0. Otherwise the
    teacher's targets would be shifted against the student's frames. The result is cut to N samples.
    """
    direct = int(rir.abs().argmax())
    heard = rir[direct : direct + len(audio)]  # later samples of the response reach only the part cut off
    wet: torch.Tensor = torchaudio.functional.fftconvolve(audio, heard)[: len(audio)]
    power = float(wet.square().mean())
    return wet * sqrt(float(audio.square().mean()) / power) if power else audio


def simulated_rir(rt60_seconds: float, sample_rate_hz: int = SAMPLE_RATE_HZ) -> torch.Tensor:
    """Return a diffuse impulse response (M,): an impulse, then noise that falls by 60 dB in `rt60_seconds`.

    It follows Polack's statistical model of late reverberation. The tail has 6 dB less energy than the
    direct path.
    """
    time = torch.arange(round(rt60_seconds * sample_rate_hz)) / sample_rate_hz
    tail = torch.randn(len(time)) * 10 ** (-3 * time / rt60_seconds)
    tail[: round(0.002 * sample_rate_hz)] = 0  # no reflection arrives before 2 ms
    tail *= (10**-0.6 / float(tail.square().sum())) ** 0.5
    tail[0] = 1.0
    return tail


class Items(Protocol):
    """A map-style dataset of clips, such as a ClipDataset."""

    def __len__(self) -> int:
        """Return the number of items."""
        ...

    def __getitem__(self, index: int, /) -> Item:
        """Return the item at `index`."""
        ...


@runtime_checkable
class WithLengths(Protocol):
    """A dataset that knows the lengths of its clips without reading them."""

    @property
    def lengths(self) -> list[int]:
        """Number of samples of each clip."""
        ...


class CorruptedDataset(Dataset[Item]):
    """A dataset of corrupted items that also hold their clean samples as `teacher_input_values`.

    Args:
        clean: Items with `input_values` (N,), such as a ClipDataset.
        corruption: The random corruption, drawn again each time that an item is read.
        clean_teacher: Whether items hold the clean samples. Without them the teacher gets the same corrupted
            samples as the student.

    Attributes:
        training_progress: The share of training that is over, 0 to 1, for a curriculum. The trainers of this
            package set it. None means that nobody has set it.

    >>> clean = [{"input_values": np.ones(16_000, dtype=np.float32), "labels": 0}]
    >>> sorted(CorruptedDataset(clean, Corruption(cases=("noise",)))[0])
    ['input_values', 'labels', 'teacher_input_values']
    """

    def __init__(self, clean: Items, corruption: Corruption, clean_teacher: bool = True) -> None:
        self.clean, self.corruption, self.clean_teacher = clean, corruption, clean_teacher
        self.training_progress: float | None = None

    def __len__(self) -> int:
        return len(self.clean)

    def __getitem__(self, index: int) -> Item:
        item = self.clean[index]
        clean = np.asarray(item["input_values"], dtype=np.float32)
        progress = self.training_progress
        if progress is None and self.corruption.curriculum:
            raise DataError(
                "CorruptedDataset: the corruption has a curriculum, but dataset.training_progress is not "
                "set. The trainers of this package set it if the dataset itself is their train_dataset, not "
                "a Subset of it. In any other loop set dataset.training_progress, 0 to 1."
            )
        corrupted = {**item, "input_values": self.corruption(clean, 1.0 if progress is None else progress)}
        return corrupted | ({"teacher_input_values": clean} if self.clean_teacher else {})

    @property
    def lengths(self) -> list[int]:
        """Number of samples of each clip, if the clean dataset knows it. Batching by length uses it."""
        if not isinstance(self.clean, WithLengths):
            raise AttributeError(f"a {type(self.clean).__name__} does not know the lengths of its clips")
        return self.clean.lengths
