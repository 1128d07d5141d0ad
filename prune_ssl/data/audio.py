"""Read one audio file: its header, and its samples as mono float32 at the wanted rate; refuse broken files.

Letters: N samples of a clip, C channels.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import soundfile

from prune_ssl.data.files import file_problem
from prune_ssl.data.resampling import resampled
from prune_ssl.errors import DataError

SAMPLE_RATE_HZ = 16_000
"""The sample rate that every model of the wav2vec 2.0 family was trained on."""

RATES_HZ = (1_000, 768_000)
"""Lowest and highest sample rate of real recordings. A header that states another rate is damaged."""

MIN_SAMPLES = 400
"""Receptive field of the usual seven-layer frontend. A shorter clip gives no frame at all."""

MOST_SAMPLES = 1 << 29
"""The largest number of samples decoded at once: 2 GiB as float32, 9 hours at 16 kHz, 3 hours at 48 kHz."""

LOUDEST = 100.0
"""A peak above this value (40 dB over full scale) is not audio: the floats are damaged or hold integers."""

# A writer into a pipe cannot go back to fill in the length; libsndfile then reports a count near 2**63.
_UNKNOWN_LENGTH = 1 << 40

# No codec packs more samples than this into one byte, not even for silence.
_SAMPLES_PER_BYTE = 1 << 16

# One step of 16-bit audio. A smaller range is silence with an offset, or rounding noise (such as the average
# of two opposite channels). Normalization would blow it up to full scale.
_SILENCE = 2.0**-15

# libsndfile reads a truncated file to its end without an error. Only its log says that bytes are missing.
_STATED = re.compile(r"^ *(?:data|SSND|BODY|Data Size) *: *(\d+) \(should be (\d+)\)", re.MULTILINE)
_STATED_RF64 = re.compile(r"frame count (\d+) does not match value from 'ds64' chunk of (\d+)")
_BIT_WIDTH = re.compile(r"^ *Bit Width *: (\d+)", re.MULTILINE)

# sox and ffmpeg state this length when they write into a pipe, because they do not know the length yet. Some
# writers count the header as audio, hence the slack.
_UNKNOWN_BYTES, _HEADER_SLACK = 0x7FFF_0000, 64

_BLOCK_VALUES = 1 << 22

Waveform = npt.NDArray[np.float32]
Item = dict[str, Any]
"""One item of a dataset: `input_values` (N,), and `labels` if the task has labels."""


@dataclass(frozen=True)
class AudioHeader:
    """Length, rate and channels of a file, read from its header before any sample is decoded.

    >>> AudioHeader(frames=44_100, sample_rate_hz=44_100, channels=2).samples_at(16_000)
    16000
    """

    frames: int
    sample_rate_hz: int
    channels: int

    def samples_at(self, sample_rate_hz: int) -> int:
        """Return the length in samples after resampling to `sample_rate_hz`, rounded up like torchaudio."""
        return -(-self.frames * sample_rate_hz // self.sample_rate_hz)


def read_header(path: Path) -> AudioHeader:
    """Read the header of an audio file.

    Raises:
        DataError: the file is missing, empty, truncated or not audio that libsndfile knows; or its header
            states no length, a length that the file cannot hold, or a rate outside RATES_HZ.

    >>> soundfile.write("stereo.wav", [[0.1, 0.3]] * 8_000, 8_000)
    >>> read_header(Path("stereo.wav"))
    AudioHeader(frames=8000, sample_rate_hz=8000, channels=2)
    """
    with _opened(path) as (_, header):
        return header


def read_waveform(
    path: Path,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    max_seconds: float | None = None,
    start_seconds: float = 0.0,
    *,
    channel: int | None = None,
) -> Waveform:
    """Decode a file, average its channels and resample it.

    Args:
        path: A file that libsndfile reads: WAV, FLAC, OGG, MP3, ...
        sample_rate_hz: The rate of the result.
        max_seconds: Read at most this many seconds. None reads to the end.
        start_seconds: Start to read here. At least one sample is read.
        channel: Take this channel, counted from 0, instead of the average.

    Returns:
        Samples of shape (N,), float32, full scale at 1.

    Raises:
        DataError: the file is missing or broken, it is shorter than its header says, or the wanted part has
            more than MOST_SAMPLES samples.

    >>> soundfile.write("stereo.wav", [[0.1, 0.3]] * 8_000, 8_000)
    >>> read_waveform(Path("stereo.wav")).shape
    (16000,)
    """
    with _opened(path) as (sound, header):
        start = min(round(start_seconds * header.sample_rate_hz), max(header.frames - 1, 0))
        samples = _decoded(sound, header, start, max_seconds, sample_rate_hz, channel)
    return resampled(samples, header.sample_rate_hz, sample_rate_hz)


def decode_audio(
    file: IO[bytes], size: int, sample_rate_hz: int = SAMPLE_RATE_HZ, max_seconds: float | None = None
) -> Waveform:
    """Decode an open file, average its channels and resample it, as `read_waveform` does for a path.

    Args:
        file: An open file, or bytes in memory as `io.BytesIO`.
        size: Its length in bytes.
        sample_rate_hz: The rate of the result.
        max_seconds: Read at most this many seconds. None reads to the end.

    Returns:
        Samples of shape (N,), float32, full scale at 1.

    Raises:
        DataError: as `read_waveform`, but the message has no file name.
    """
    try:
        with soundfile.SoundFile(file) as sound:
            header = _header_of(sound, size)
            samples = _decoded(sound, header, 0, max_seconds, sample_rate_hz)
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        raise DataError(f"broken: {reason_of(error)}") from error
    return resampled(samples, header.sample_rate_hz, sample_rate_hz)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[soundfile.SoundFile, AudioHeader]]:
    """Open a file and check its header. Errors raised while it is open get the name of the file."""
    problem = file_problem(path)
    if problem is not None:
        raise DataError(f"{path}: {problem}")
    if path.suffix.lower() == ".raw":  # soundfile reads such a file only if the caller names its rate
        raise DataError(f"{path}: broken: samples without a header, so its rate is not known: encode as WAV")
    try:
        size = path.stat().st_size
        if size == 0:
            raise DataError("broken: the file is empty (0 bytes)")
        # The name is passed as bytes, because file names need not be UTF-8.
        with soundfile.SoundFile(os.fsencode(path)) as sound:
            yield sound, _header_of(sound, size)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (soundfile.LibsndfileError, RuntimeError, OSError, ValueError) as error:
        raise DataError(f"{path}: broken: not readable as audio ({reason_of(error)})") from error


def _header_of(sound: soundfile.SoundFile, size: int) -> AudioHeader:
    """Return the header of an open file of `size` bytes, after checking that it can be true."""
    header = AudioHeader(int(sound.frames), int(sound.samplerate), int(sound.channels))
    if sound.format == "RAW":  # libsndfile takes any file named .au, .snd, .vox or .gsm for raw samples
        raise DataError("broken: not readable as audio (no header of a known format)")
    require_rate(header.sample_rate_hz)
    if header.frames >= _UNKNOWN_LENGTH:
        raise DataError(
            "broken: the header states no length (written through a pipe?): encode the file again"
        )
    if header.frames > size * _SAMPLES_PER_BYTE:
        raise DataError(f"broken: the header states {header.frames} samples, which {size} bytes cannot hold")
    log = sound.extra_info
    if match := _STATED.search(log):
        stated, held = map(int, match.groups())
        if held + _HEADER_SLACK < stated < _UNKNOWN_BYTES:
            raise DataError(
                f"broken: cut off: its header states {stated} bytes of audio, the file holds {held}"
            )
    if (match := _STATED_RF64.search(log)) and int(match[1]) < int(match[2]):
        raise DataError(f"broken: cut off: its header states {match[2]} samples, the file holds {match[1]}")
    if sound.subtype == "PCM_U8" and (match := _BIT_WIDTH.search(log)) and int(match[1]) < 8:
        raise DataError(f"broken: the header states samples of {match[1]} bits")
    return header


def require_rate(sample_rate_hz: int) -> None:
    """Refuse a sample rate that no recording has.

    Raises:
        DataError: the rate lies outside RATES_HZ.
    """
    low, high = RATES_HZ
    if not low <= sample_rate_hz <= high:
        raise DataError(
            f"broken: the header states {sample_rate_hz} Hz, wanted a sample rate of {low} to {high} Hz"
        )


def _decoded(
    sound: soundfile.SoundFile,
    header: AudioHeader,
    start: int,
    max_seconds: float | None,
    wanted_hz: int,
    channel: int | None = None,
) -> Waveform:
    """Return the mean of the channels, or one of them, (N,), from sample `start` on, at the file's rate."""
    wanted, rate = header.frames - start, header.sample_rate_hz
    if max_seconds is not None:
        wanted = min(wanted, round(min(max_seconds, MOST_SAMPLES) * rate))
    if wanted * max(1.0, wanted_hz / rate) > MOST_SAMPLES:
        raise DataError(f"too long to decode at once ({wanted / rate / 3600:.1f} hours): cut it into pieces")
    mono, done = np.empty(wanted, dtype=np.float32), 0
    try:
        if start:
            sound.seek(start)
        while done < wanted:
            block = min(max(1, _BLOCK_VALUES // header.channels), wanted - done)
            part = sound.read(block, dtype="float32", always_2d=True)
            if not len(part):
                break
            mono[done : done + len(part)] = mean_of_channels(part) if channel is None else part[:, channel]
            done += len(part)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise DataError(f"broken: decoding failed ({reason_of(error)})") from error
    if done != wanted:
        raise DataError(f"broken: {wanted} samples expected, only {done} could be decoded")
    return mono


def mean_of_channels(samples: Waveform) -> Waveform:
    """Average samples of shape (N, C) to shape (N,)."""
    with np.errstate(over="ignore", invalid="ignore"):  # `waveform_problem` reports damaged floats
        return np.ascontiguousarray(samples.mean(axis=1), dtype=np.float32)


def waveform_problem(samples: Waveform, min_samples: int = MIN_SAMPLES) -> str | None:
    """Return the reason why a clip cannot be used, or None if it can be used.

    Args:
        samples: Mono samples at the model's rate, shape (N,).
        min_samples: The model's receptive field.

    >>> waveform_problem(np.zeros(16_000, dtype=np.float32))
    'silent (all samples are zero)'
    """
    if len(samples) < min_samples:
        return too_short(len(samples), min_samples)
    if not np.isfinite(samples).all():
        return f"NaN or infinite ({int((~np.isfinite(samples)).sum())} of {len(samples)} samples)"
    low, high = float(samples.min(initial=np.inf)), float(samples.max(initial=-np.inf))
    if max(high, -low) > LOUDEST:
        return f"far too loud (its peak is {max(high, -low):.3g}, full scale is 1): scale its samples"
    if high - low < _SILENCE:
        if low == high == 0.0:
            return "silent (all samples are zero)"
        return f"silent (all samples lie between {low:.3g} and {high:.3g})"
    return None


def too_short(samples: int, min_samples: int) -> str:
    """Return the message for a clip shorter than the receptive field. Both counts are at the model's rate."""
    return f"too short ({samples} samples, the model needs at least {min_samples})"


def reason_of(error: Exception) -> str:
    """Return libsndfile's own message, without the path that it repeats."""
    text = getattr(error, "error_string", None) or str(error) or type(error).__name__
    return str(text).strip().rstrip(".")
