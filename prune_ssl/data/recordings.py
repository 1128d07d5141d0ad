"""Sounds to draw from: random pieces of noise, or whole room impulse responses.

Only headers are read beforehand, so a noise corpus need not fit into memory.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from prune_ssl.data.audio import LOUDEST, SAMPLE_RATE_HZ, read_header, read_waveform
from prune_ssl.data.files import AUDIO_SUFFIXES, is_file, is_folder
from prune_ssl.errors import DataError

Sources = str | Path | tuple[str | Path, ...]
"""A folder, a file or a pattern of files, or a list of these."""

WILD = frozenset("*?[")

HEARD_ROOMS = 32
"""So many files of rooms are heard beforehand, evenly spaced. The others are heard when they are drawn."""

DIRECT_SECONDS = 0.005
"""Sound that comes so shortly before the strongest sample counts as the direct sound."""

LEAST_DECAY = 0.7
"""The least share of a room's energy in the first half of its response, counted from its strongest sample. A
steady noise has about half of its energy there, a room that falls by 30 dB within the file 97%."""


@dataclass(frozen=True)
class Recordings:
    """The audio files of some folders and patterns. All randomness comes from torch's global generator."""

    paths: Sequence[Path]
    """The files, sorted."""
    seconds: Sequence[float]
    """The length of each file."""
    sample_rate_hz: int = SAMPLE_RATE_HZ
    """The rate of what is drawn."""

    @classmethod
    def of(cls, sources: Sources, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Recordings:
        """List the audio files of folders and of their subfolders.

        Args:
            sources: A folder, a file, or a pattern such as `musan/noise/*/*-000[0-4].wav`, or a list of
                these. In a pattern `**` stands for any folders. A folder that fits gives all its files.
                Links are followed.
            sample_rate_hz: The rate of what is drawn.

        Raises:
            DataError: there is no such folder, a source has no audio, or the header of a file cannot be read.
        """
        given = [sources] if isinstance(sources, str | Path) else sources
        paths = sorted({path for each in given for path in _files_of(each)})
        headers = [read_header(path) for path in paths]
        empty = [path for path, header in zip(paths, headers, strict=True) if header.frames == 0]
        if empty:
            raise DataError(f"{empty[0]}: the file has no samples: remove it")
        seconds = tuple(header.frames / header.sample_rate_hz for header in headers)
        return cls(tuple(paths), seconds, sample_rate_hz)

    def piece(self, samples: int) -> torch.Tensor:
        """Return a random piece (samples,) of a random file. A file that is too short is repeated."""
        index, seconds = self._random_index(), samples / self.sample_rate_hz
        start = float(torch.rand(())) * max(self.seconds[index] - seconds, 0.0)
        path = self.paths[index]
        found = read_waveform(path, self.sample_rate_hz, seconds, start)
        return _usable(path, found).repeat(-(-samples // len(found)))[:samples]

    def whole(self) -> torch.Tensor:
        """Return the samples (M,) of a random file."""
        path = self.paths[self._random_index()]
        return _usable(path, read_waveform(path, self.sample_rate_hz))

    def _random_index(self) -> int:
        return int(torch.randint(len(self.paths), ()))


@dataclass(frozen=True)
class Rooms(Recordings):
    """Room impulse responses. A file that holds noise instead is refused."""

    @classmethod
    def of(cls, sources: Sources, sample_rate_hz: int = SAMPLE_RATE_HZ) -> Rooms:
        """List the files, and listen to some of them.

        Raises:
            DataError: as `Recordings.of`, or a file holds noise, by its name or by its sound.
        """
        found = Recordings.of(sources, sample_rate_hz)
        noisy = [path for path in found.paths if "noise" in path.stem.lower()]
        if noisy:
            raise DataError(
                f"{noisy[0]}: noise by its name, as {len(noisy)} of {len(found.paths)} files, wanted impulse "
                "responses of rooms: give those alone. Of OpenSLR 28 they are "
                "[RIRS_NOISES/simulated_rirs, RIRS_NOISES/real_rirs_isotropic_noises/*rir*]"
            )
        rooms = cls(found.paths, found.seconds, sample_rate_hz)
        step = -(-len(rooms.paths) // HEARD_ROOMS)
        for path in rooms.paths[::step]:
            rooms.heard(path)
        return rooms

    def whole(self) -> torch.Tensor:
        """Return a random channel (M,) of a random file."""
        return self.heard(self.paths[self._random_index()])

    def heard(self, path: Path) -> torch.Tensor:
        """Return a random channel (M,) of a file. Channels are never averaged: each has a direct sound.

        Raises:
            DataError: the file is silent, cannot be read, or holds noise.
        """
        channels = read_header(path).channels
        channel = int(torch.randint(channels, ())) if channels > 1 else 0
        found = _usable(path, read_waveform(path, self.sample_rate_hz, channel=channel))
        energy = found.square()
        total = float(energy.sum())
        if total == 0:
            raise DataError(f"{path}: silent: remove the file")
        direct = int(found.abs().argmax())
        start = max(direct - round(DIRECT_SECONDS * self.sample_rate_hz), 0)
        half = direct + -(-(len(found) - direct) // 2)
        if float(energy[start:half].sum()) < LEAST_DECAY * total:
            raise DataError(
                f"{path}: noise by its sound (it does not decay), wanted the impulse response of a room: "
                "give recordings of noise as `noise`"
            )
        return found


def _usable(path: Path, samples: object) -> torch.Tensor:
    found = torch.as_tensor(samples)
    if not float(found.abs().max()) <= LOUDEST:
        raise DataError(f"{path}: NaN, infinite or far too loud: remove the file")
    return found


def _files_of(source: str | Path) -> list[Path]:
    """Return the audio files of one source.

    Raises:
        DataError: there are none.
    """
    root = Path(source)
    if is_file(root):
        return [root]
    plain = [part for part in root.parts if not WILD.isdisjoint(part)] == [] or is_folder(root)
    start = root if plain else _before_the_pattern(root)
    if not is_folder(start):
        raise DataError(f"{start}: no such folder: give a folder of recordings")
    found = [path for path in _audio_below(start) if plain or _fits(path.parts, root.parts)]
    if not found:
        raise DataError(
            f"{root}: found no audio file ({', '.join(sorted(AUDIO_SUFFIXES))}): give a folder of recordings"
        )
    return found


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether a path, or a folder that it lies in, fits a pattern. Both come in their parts.

    >>> _fits(("a", "b", "1-2.wav"), ("a", "**", "*-[!3].wav")), _fits(("a", "b"), ("a", "c*"))
    (True, False)
    """
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(_fits(parts[start:], pattern[1:]) for start in range(len(parts)))
    return bool(parts) and fnmatch.fnmatch(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _before_the_pattern(pattern: Path) -> Path:
    """Return the part of a pattern's path before its first wildcard."""
    parts = pattern.parts
    first = next(place for place, part in enumerate(parts) if not WILD.isdisjoint(part))
    return Path(*parts[:first])


def _audio_below(folder: Path) -> Iterator[Path]:
    """Yield the audio files below a folder. Links are followed, and a folder is not entered twice."""
    entered = {os.path.realpath(folder)}
    for place, folders, files in os.walk(folder, followlinks=True):
        real = {name: os.path.realpath(os.path.join(place, name)) for name in folders}
        folders[:] = [name for name in sorted(folders) if real[name] not in entered]
        entered.update(real[name] for name in folders)
        for name in files:
            path = Path(place, name)
            if path.suffix.lower() in AUDIO_SUFFIXES and is_file(path):
                yield path
