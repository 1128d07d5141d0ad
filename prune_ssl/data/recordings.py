"""Folders of sounds to draw from: random pieces of noise, or whole room impulse responses.

Only headers are read beforehand, so a noise corpus need not fit into memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from prune_ssl.data.audio import LOUDEST, SAMPLE_RATE_HZ, read_header, read_waveform
from prune_ssl.data.corruption import SUFFIXES
from prune_ssl.data.files import is_file, is_folder
from prune_ssl.errors import DataError


@dataclass(frozen=True)
class Recordings:
    """The audio files of a folder. All randomness comes from torch's global generator."""

    paths: Sequence[Path]
    """The files, sorted."""
    seconds: Sequence[float]
    """The length of each file."""

    @classmethod
    def of(cls, folder: Path) -> Recordings:
        """List the audio files of a folder and of its subfolders.

        Raises:
            DataError: there is no such folder, it has no audio, or the header of a file cannot be read.
        """
        if not is_folder(folder):
            raise DataError(f"{folder}: no such folder: give a folder of recordings")
        paths = sorted(
            path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and is_file(path)
        )
        if not paths:
            raise DataError(
                f"{folder}: found no audio file ({', '.join(SUFFIXES)}): give a folder of recordings"
            )
        headers = [read_header(path) for path in paths]
        empty = [path for path, header in zip(paths, headers, strict=True) if header.frames == 0]
        if empty:
            raise DataError(f"{empty[0]}: the file has no samples: remove it")
        return cls(tuple(paths), tuple(header.frames / header.sample_rate_hz for header in headers))

    def piece(self, samples: int) -> torch.Tensor:
        """Return a random piece (samples,) of a random file. A file that is too short is repeated."""
        index, seconds = self._random_index(), samples / SAMPLE_RATE_HZ
        start = float(torch.rand(())) * max(self.seconds[index] - seconds, 0.0)
        found = self._read(self.paths[index], seconds, start)
        return found.repeat(-(-samples // len(found)))[:samples]

    def whole(self) -> torch.Tensor:
        """Return the samples (M,) of a random file."""
        return self._read(self.paths[self._random_index()])

    def _random_index(self) -> int:
        return int(torch.randint(len(self.paths), ()))

    @staticmethod
    def _read(path: Path, seconds: float | None = None, start: float = 0.0) -> torch.Tensor:
        found = torch.from_numpy(read_waveform(path, SAMPLE_RATE_HZ, seconds, start))
        if not bool((found.abs() <= LOUDEST).all()):  # silence is allowed: a piece of noise may be silent
            raise DataError(f"{path}: NaN, infinite or far too loud: remove the file")
        return found
