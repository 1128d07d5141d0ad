"""Owns corrupted audio for robust distillation: noise at a drawn SNR, reverberation, or both.

The student hears the corrupted clip, the teacher the clean one (RobustDistiller, methods 8). As in
`augmentation`, all randomness comes from torch's global generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, sqrt
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
import torchaudio
from torch.utils.data import Dataset

from prune_ssl.data.audio import LOUDEST, SAMPLE_RATE_HZ, Item, Waveform, read_waveform
from prune_ssl.data.files import is_file
from prune_ssl.errors import DataError
from prune_ssl.models.arguments import check_types

CASES: tuple[Literal["noise", "reverb", "both", "clean"], ...] = ("noise", "reverb", "both", "clean")
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


class RoomsAndNoise(Protocol):
    """Settings that draw from two ranges."""

    @property
    def snr_db(self) -> tuple[float, float]:
        """Signal-to-noise ratio, low to high."""
        ...

    @property
    def rt60_seconds(self) -> tuple[float, float]:
        """Reverberation time, low to high."""
        ...


@dataclass(frozen=True, kw_only=True)
class CorruptionConfig:
    """Noise and reverberation on training clips; checked when made.

    Raises:
        DataError: no case or an unknown one, a value of a wrong type or out of range, or an upside-down
            range.
    """

    noise: str | Path | None = None
    """Folder of noise files, searched with its subfolders; None: white noise only."""
    rirs: str | Path | None = None
    """Folder of room impulse responses; None: simulated ones."""
    snr_db: tuple[float, float] = (0.0, 20.0)
    """Range of the signal-to-noise ratio, drawn evenly; powers are means over the clip."""
    cases: tuple[Literal["noise", "reverb", "both", "clean"], ...] = CASES
    """What may happen to a clip, each as likely as another; `both` is reverberation, then noise."""
    white_probability: float = 0.3
    """How often the noise is white though there are files (RobustDistiller: 0.3)."""
    rt60_seconds: tuple[float, float] = (0.2, 0.8)
    """Range of reverberation times of simulated rooms."""
    curriculum: float = 0.0
    """Part of training over which it gets hard (RobustDistiller's option): the lower end of `snr_db` falls
    from the upper one, and the cases with reverberation come to have it, from never to always; 0: all at
    once."""

    def __post_init__(self) -> None:
        check_types(self, DataError, but=("cases",))
        object.__setattr__(self, "cases", tuple(self.cases))
        wrong = [case for case in self.cases if case not in CASES]
        if wrong or not self.cases:
            raise DataError(f"cases: found {list(self.cases)}, wanted some of {', '.join(CASES)}.")
        check_pairs(self)
        check_range(self, "white_probability", 0, 1)
        if not 0 <= self.curriculum <= 1:
            raise DataError(f"curriculum: found {self.curriculum}, wanted a part of training, 0 to 1.")


def check_pairs(settings: RoomsAndNoise) -> None:
    """Refuse ranges that are upside down.

    Raises:
        DataError: one is.
    """
    for name, (low, high) in (("snr_db", settings.snr_db), ("rt60_seconds", settings.rt60_seconds)):
        if low > high or (name == "rt60_seconds" and low <= 0):
            raise DataError(f"{name}: found {low} to {high}, wanted a range from low to high.")


def check_range(settings: object, name: str, least: float, most: float) -> None:
    """Refuse a number outside of its range.

    Raises:
        DataError: it is.
    """
    found = getattr(settings, name)
    if not least <= found <= most:
        wanted = f"{least:g} or more" if most == inf else f"a number from {least:g} to {most:g}"
        raise DataError(f"{name}: found {found}, wanted {wanted}.")


@dataclass(frozen=True, kw_only=True)
class Corruption(CorruptionConfig):
    """The changes of a `CorruptionConfig`, with its folders read; calling it changes one clip.

    Raises:
        DataError: as `CorruptionConfig`, or a folder without usable audio.
    """

    sample_rate_hz: int = SAMPLE_RATE_HZ
    _noises: tuple[torch.Tensor, ...] = field(init=False, repr=False, default=())
    _rirs: tuple[torch.Tensor, ...] = field(init=False, repr=False, default=())

    def __post_init__(self) -> None:
        super().__post_init__()
        for kept, folder in (("_noises", self.noise), ("_rirs", self.rirs)):
            clips = () if folder is None else _read_folder(Path(folder), self.sample_rate_hz)
            object.__setattr__(self, kept, clips)

    def __call__(self, samples: Waveform, progress: float = 1.0) -> Waveform:
        """Return a corrupted copy of `samples` (N,), of the same length and in time with it.

        Args:
            samples: (N,).
            progress: how much of training is over, 0 to 1; matters to a curriculum only.
        """
        grown = min(progress / self.curriculum, 1.0) if self.curriculum else 1.0
        case = self.cases[int(torch.randint(len(self.cases), ()))]
        audio = torch.from_numpy(np.asarray(samples, dtype=np.float32))
        if case in ("reverb", "both") and (grown == 1 or float(torch.rand(())) < grown):
            audio = reverberate(audio, self._draw_rir())
        if case in ("noise", "both"):
            high = self.snr_db[1]
            low = high - grown * (high - self.snr_db[0])
            snr_db = low + (high - low) * float(torch.rand(()))
            audio = add_noise(audio, self._draw_noise(len(audio)), snr_db)
        return np.array(audio.numpy(), dtype=np.float32)

    def _draw_noise(self, samples: int) -> torch.Tensor:
        if not self._noises or float(torch.rand(())) < self.white_probability:
            return torch.randn(samples)
        noise = self._noises[int(torch.randint(len(self._noises), ()))]
        if len(noise) < samples:
            noise = noise.repeat(-(-samples // len(noise)))
        start = int(torch.randint(len(noise) - samples + 1, ()))
        return noise[start : start + samples]

    def _draw_rir(self) -> torch.Tensor:
        if self._rirs:
            return self._rirs[int(torch.randint(len(self._rirs), ()))]
        low, high = self.rt60_seconds
        return simulated_rir(low + (high - low) * float(torch.rand(())), self.sample_rate_hz)


def add_noise(audio: torch.Tensor, noise: torch.Tensor, snr_db: float) -> torch.Tensor:
    """Return (N,) audio + noise scaled by sqrt(P_audio / P_noise 10^(-SNR/10)); silence stays as it is."""
    power = float(noise.square().mean())
    if power == 0:
        return audio
    return audio + noise * sqrt(float(audio.square().mean()) / power * 10 ** (-snr_db / 10))


def reverberate(audio: torch.Tensor, rir: torch.Tensor) -> torch.Tensor:
    """Convolve (N,) audio with an impulse response (M,), in time with the input and at its power.

    The response's strongest sample, taken as the direct path, is put at time 0: else the teacher's targets
    would be shifted (pitfall 27). The tail after N samples is cut off.
    """
    direct = int(rir.abs().argmax())
    heard = rir[direct : direct + len(audio)]  # what comes later is cut off below
    wet: torch.Tensor = torchaudio.functional.fftconvolve(audio, heard)[: len(audio)]
    power = float(wet.square().mean())
    return wet * sqrt(float(audio.square().mean()) / power) if power else audio


def simulated_rir(rt60_seconds: float, sample_rate_hz: int = SAMPLE_RATE_HZ) -> torch.Tensor:
    """Return a diffuse impulse response: an impulse, then noise that falls by 60 dB in `rt60_seconds` (M,).

    Polack's statistical model of late reverberation, with the tail 6 dB below the direct path in energy.
    """
    time = torch.arange(round(rt60_seconds * sample_rate_hz)) / sample_rate_hz
    tail = torch.randn(len(time)) * 10 ** (-3 * time / rt60_seconds)
    tail[: round(0.002 * sample_rate_hz)] = 0  # no reflection arrives before 2 ms
    tail *= (10**-0.6 / float(tail.square().sum())) ** 0.5
    tail[0] = 1.0
    return tail


class Items(Protocol):
    """Clips in order, such as a ClipDataset."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def __getitem__(self, index: int, /) -> Item:
        """Return one."""
        ...


@runtime_checkable
class WithLengths(Protocol):
    """Clips whose lengths are known before they are read."""

    @property
    def lengths(self) -> list[int]:
        """Samples of each clip."""
        ...


class CorruptedDataset(Dataset[Item]):
    """A dataset whose items are corrupted, with the clean samples beside them as `teacher_input_values`.

    Args:
        clean: items with `input_values` (N,), such as a ClipDataset.
        corruption: What happens to them, anew each time that an item is read.
        clean_teacher: Whether the clean samples are handed out; else a teacher hears what the student hears.

    Attributes:
        training_progress: how much of training is over, 0 to 1, for a curriculum. The trainers of this
            package tell it; None: nobody did.
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
                "CorruptedDataset: its corruption has a curriculum, and nobody said how much of training is "
                "over. The trainers of this package do for their train_dataset itself, in no Subset; "
                "elsewhere set dataset.training_progress, 0 to 1."
            )
        corrupted = {**item, "input_values": self.corruption(clean, 1.0 if progress is None else progress)}
        return corrupted | ({"teacher_input_values": clean} if self.clean_teacher else {})

    @property
    def lengths(self) -> list[int]:
        """Samples of each clip, where the clean dataset knows them: for batches of like length."""
        if not isinstance(self.clean, WithLengths):
            raise AttributeError(f"a {type(self.clean).__name__} does not know the lengths of its clips")
        return self.clean.lengths


def _read_folder(folder: Path, sample_rate_hz: int) -> tuple[torch.Tensor, ...]:
    paths: Sequence[Path] = sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and is_file(path)
    )
    if not paths:
        raise DataError(f"{folder}: no audio file ({', '.join(SUFFIXES)}) in it; give a folder of recordings")
    clips = []
    for path in paths:
        clip = torch.from_numpy(read_waveform(path, sample_rate_hz))
        if not (len(clip) and 0 < float(clip.abs().max()) <= LOUDEST):
            raise DataError(f"{path}: silent or not a number, or far too loud: remove it")
        clips.append(clip)
    return tuple(clips)
