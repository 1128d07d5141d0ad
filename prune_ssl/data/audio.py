"""Owns reading one audio file: header, samples as mono float32 at the wanted rate, what can be wrong.

Letters: N samples of a clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import torch
import torchaudio

from prune_ssl.errors import DataError

SAMPLE_RATE_HZ = 16_000
"""What every model of the wav2vec 2.0 family was trained on."""

MIN_SAMPLES = 400
"""Receptive field of the usual seven-layer frontend: a shorter clip gives no frame at all."""

# A writer into a pipe cannot go back to fill in the length; libsndfile then reports a count near 2**63.
_UNKNOWN_LENGTH = 1 << 40

# One step of 16-bit audio. Less is silence with an offset, or rounding noise (as of opposite channels that
# were averaged): normalization would blow it up to full scale.
_SILENCE = 2.0**-15

Waveform = npt.NDArray[np.float32]


@dataclass(frozen=True)
class AudioHeader:
    """What a file says of itself before any sample is decoded."""

    frames: int
    sample_rate_hz: int
    channels: int

    def samples_at(self, sample_rate_hz: int) -> int:
        """Length in samples after resampling to `sample_rate_hz`, as torchaudio rounds it (up)."""
        return -(-self.frames * sample_rate_hz // self.sample_rate_hz)


def read_header(path: Path) -> AudioHeader:
    """Read the header of an audio file.

    Raises:
        DataError: the file is missing, empty, not audio that libsndfile knows, or states no length.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: broken: the file is empty (0 bytes)")
    try:
        info = soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise DataError(f"{path}: broken: not readable as audio ({reason_of(error)})") from error
    if info.frames >= _UNKNOWN_LENGTH:
        raise DataError(
            f"{path}: broken: the header states no length (written through a pipe?); encode it again"
        )
    return AudioHeader(
        frames=int(info.frames), sample_rate_hz=int(info.samplerate), channels=int(info.channels)
    )


def read_waveform(
    path: Path,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    max_seconds: float | None = None,
    start_seconds: float = 0.0,
) -> Waveform:
    """Decode a file, average its channels and resample it.

    Args:
        path: A file that libsndfile reads: WAV, FLAC, OGG, MP3, ...
        sample_rate_hz: The rate of the result.
        max_seconds: Read no more than this.
        start_seconds: Read from here on; at least one sample is read.

    Returns:
        Samples of shape (N,), float32, full scale at 1.

    Raises:
        DataError: the file is missing or broken (also: shorter than its header says).
    """
    header = read_header(path)
    start = min(round(start_seconds * header.sample_rate_hz), max(header.frames - 1, 0))
    wanted = header.frames - start
    if max_seconds is not None:
        wanted = min(wanted, round(max_seconds * header.sample_rate_hz))
    try:
        samples, _ = soundfile.read(str(path), wanted, start, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise DataError(f"{path}: broken: decoding failed ({reason_of(error)})") from error
    if len(samples) != wanted:
        raise DataError(f"{path}: broken: {wanted} samples expected, only {len(samples)} could be decoded")
    return mono_at(samples, header.sample_rate_hz, sample_rate_hz)


def mono_at(samples: Waveform, found_hz: int, wanted_hz: int) -> Waveform:
    """Average the channels of samples (N, C) and resample them to (N',)."""
    mono = np.ascontiguousarray(samples.mean(axis=1), dtype=np.float32)
    if found_hz == wanted_hz or mono.size == 0:
        return mono
    resampled = torchaudio.functional.resample(torch.from_numpy(mono), found_hz, wanted_hz)
    return np.asarray(resampled.numpy(), dtype=np.float32)


def waveform_problem(samples: Waveform, min_samples: int = MIN_SAMPLES) -> str | None:
    """Say in a few words why a clip can't be used, or None when it can.

    Args:
        samples: Mono samples at the model's rate, shape (N,).
        min_samples: The model's receptive field.
    """
    if len(samples) < min_samples:
        return too_short(len(samples), min_samples)
    if not np.isfinite(samples).all():
        return f"NaN or infinite ({int((~np.isfinite(samples)).sum())} of {len(samples)} samples)"
    low, high = float(samples.min()), float(samples.max())
    if high - low < _SILENCE:
        if low == high == 0.0:
            return "silent (all samples are zero)"
        return f"silent (all samples lie between {low:.3g} and {high:.3g})"
    return None


def too_short(samples: int, min_samples: int) -> str:
    """The words for a clip below the receptive field; both counts at the model's rate."""
    return f"too short ({samples} samples, the model needs at least {min_samples})"


def reason_of(error: Exception) -> str:
    """Give libsndfile's own words, without the path that they repeat."""
    text = getattr(error, "error_string", None) or str(error)
    return str(text).strip().rstrip(".")
