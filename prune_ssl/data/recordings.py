"""Owns folders of sounds to draw from: noise in random pieces, room impulse responses whole.

Only headers are read beforehand: a corpus of noise need not fit into memory.
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
    """The audio files of a folder; all randomness comes from torch's global generator."""

    paths: Sequence[Path]
    seconds: Sequence[float]

    @classmethod
    def of(cls, folder: Path) -> Recordings:
        """List a folder with its subfolders.

        Raises:
            DataError: there is no such folder, no audio in it, or a file whose header cannot be read.
        """
        if not is_folder(folder):
            raise DataError(f"{folder}: no such folder; give one of recordings")
        paths = sorted(
            path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and is_file(path)
        )
        if not paths:
            raise DataError(
                f"{folder}: no audio file ({', '.join(SUFFIXES)}) in it; give a folder of recordings"
            )
        headers = [read_header(path) for path in paths]
        empty = [path for path, header in zip(paths, headers, strict=True) if header.frames == 0]
        if empty:
            raise DataError(f"{empty[0]}: no samples in it: remove it")
        return cls(tuple(paths), tuple(header.frames / header.sample_rate_hz for header in headers))

    def piece(self, samples: int) -> torch.Tensor:
        """A random piece (samples,) of a random file, which is repeated where it is too short."""
        index, seconds = self._drawn(), samples / SAMPLE_RATE_HZ
        start = float(torch.rand(())) * max(self.seconds[index] - seconds, 0.0)
        found = self._read(self.paths[index], seconds, start)
        return found.repeat(-(-samples // len(found)))[:samples]

    def whole(self) -> torch.Tensor:
        """A random file (M,)."""
        return self._read(self.paths[self._drawn()])

    def _drawn(self) -> int:
        return int(torch.randint(len(self.paths), ()))

    @staticmethod
    def _read(path: Path, seconds: float | None = None, start: float = 0.0) -> torch.Tensor:
        found = torch.from_numpy(read_waveform(path, SAMPLE_RATE_HZ, seconds, start))
        if not bool((found.abs() <= LOUDEST).all()):  # a silent piece is one
            raise DataError(f"{path}: NaN, infinite or far too loud: remove it")
        return found
