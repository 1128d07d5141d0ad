"""Tones, and the bytes of audio files whose headers say what they are told to."""

import io
import struct

import numpy as np
import soundfile


def tone(count: int = 8_000) -> np.ndarray:
    return (0.3 * np.sin(np.arange(count) / 9)).astype(np.float32)


def wav(
    rate: int = 16_000, channels: int = 1, bits: int = 16, code: int = 1, stated: int | None = None
) -> bytes:
    """A WAV of 8000 samples of 16 bits whose header says what it is told to."""
    body = (tone() * 32_767).astype("<i2").tobytes()
    wide = channels * bits // 8
    head = struct.pack("<IHHIIHH", 16, code, channels, rate, rate * wide & 0xFFFFFFFF, wide & 0xFFFF, bits)
    size = struct.pack("<I", len(body) if stated is None else stated)
    return b"RIFF" + struct.pack("<I", 36 + len(body)) + b"WAVEfmt " + head + b"data" + size + body


def encoded(samples: np.ndarray, rate: int = 16_000, kind: str = "WAV", subtype: str = "FLOAT") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()
