"""Audio files of all kinds: several containers, damage, wrong names, forged headers, odd rates and levels."""

import io
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import torchaudio

from fuzzing.case import Case
from prune_ssl.data import MIN_SAMPLES, read_header, read_waveform, waveform_problem
from prune_ssl.data.audio import LOUDEST, decode_audio
from prune_ssl.errors import DataError

WANTED_HZ = 16_000
USUAL_HZ = (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000)
ODD_HZ = (1_000, 4_000, 11_127, 12_345, 16_001, 31_999, 44_056, 47_951, 192_000, 767_999)
CONTAINERS = {
    "wav": ("PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE", "ULAW"),
    "wavex": ("PCM_16", "FLOAT"),
    "rf64": ("PCM_16", "FLOAT"),
    "w64": ("PCM_16",),
    "aiff": ("PCM_16", "FLOAT"),
    "au": ("PCM_16", "FLOAT"),
    "caf": ("PCM_16", "FLOAT"),
    "flac": ("PCM_16", "PCM_24"),
    "ogg": ("VORBIS", "OPUS"),
    "mp3": ("MPEG_LAYER_III",),
    "nist": ("PCM_16",),
}
LOSSY = ("VORBIS", "OPUS", "MPEG_LAYER_III", "ULAW", "PCM_U8")
OPUS_HZ = (8_000, 12_000, 16_000, 24_000, 48_000)
MP3_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)

Samples = np.ndarray[Any, np.dtype[np.float32]]
Numbers = np.ndarray[Any, np.dtype[np.float64]]


def make(rng: random.Random, place: Path) -> Case:
    """Return a file that is read, and checked where it is taken."""
    return rng.choice([_sound, _sound, _sound, _damaged, _damaged, _forged, _forged, _odd_level, _no_file])(
        rng, place
    )


def _sound(rng: random.Random, place: Path) -> Case:
    """A correct file, from which exactly the written samples must be read."""
    container, subtype, rate = _format(rng)
    seconds, channels = rng.choice([0.02, 0.2, 0.7, 2.0]), rng.choice([1, 1, 1, 2, 6])
    if container in ("mp3", "nist", "ogg"):
        channels = min(channels, 2)
    samples = _speechlike(rng, round(seconds * rate), channels)
    path = place / _name(rng, container)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, format=container.upper(), subtype=subtype)
    most = rng.choice([None, None, 0.1, 0.5])
    label = f"{path.name!r}: {container} {subtype}, {rate} Hz, {channels} channels, {seconds} s, most {most}"

    def act() -> None:
        assert read_header(path).sample_rate_hz == rate
        _compare(_read(path, most), samples, rate, most, subtype)

    return Case(label, act)


def _damaged(rng: random.Random, place: Path) -> Case:
    """A good file that lost bytes, or has others in it."""
    container, subtype, rate = _format(rng)
    samples = _speechlike(rng, round(0.5 * rate), 1)
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container.upper(), subtype=subtype)
    data = bytearray(file.getvalue())
    harm = rng.choice(["cut", "cut", "head", "bits", "header bits", "text behind", "zeros", "twice"])
    if harm == "cut":
        del data[rng.randrange(len(data)) :]
    elif harm == "head":
        del data[: rng.randrange(1, 64)]
    elif harm in ("bits", "header bits"):
        reach = min(len(data), 100) if harm == "header bits" else len(data)
        for _ in range(rng.choice([1, 4, 30])):
            data[rng.randrange(reach)] = rng.randrange(256)
    elif harm == "text behind":
        data += b"and more " * rng.randrange(50)
    elif harm == "zeros":
        start = rng.randrange(len(data))
        data[start : start + 500] = bytes(len(data[start : start + 500]))
    else:
        data += bytes(data)
    path = place / _name(rng, container)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    whole = harm == "cut" and subtype not in LOSSY and container in ("wav", "wavex", "aiff", "au", "rf64")

    def act() -> None:
        found = _read(path, None)
        if whole:  # what was cut off must be told, but for a few bytes that some writers miscount
            lost = len(samples) - len(found) * rate / WANTED_HZ
            assert lost <= 64, f"{lost} of {len(samples)} samples are gone without a word"

    return Case(f"{path.name!r}: {container} {subtype} {rate} Hz with {harm}, {len(data)} bytes", act)


def _forged(rng: random.Random, place: Path) -> Case:
    """A WAV or FLAC whose header states what cannot be."""
    if rng.random() < 0.15:
        return _forged_flac(rng, place)
    rate = rng.choice([0, 1, 99, 999, 16_000, 44_100, 768_001, 10_000_000, 2**31, 2**32 - 1, *ODD_HZ])
    channels = rng.choice([0, 1, 1, 1, 2, 64, 1_024, 1_025, 65_535])
    kinds = [(1, 16), (1, 16), (1, 0), (1, 1), (1, 64), (1, 12), (3, 32), (3, 16), (0xFFFE, 16), (0, 8)]
    code, bits = rng.choice(kinds)
    count = rng.choice([0, 1, 399, 8_000])
    body = (_speechlike(rng, count, 1)[:, 0] * 32_767).astype("<i2").tobytes()
    lengths = [0, 1, len(body) + 1, 2 * len(body), 10**6, 2**31 - 1, 2**32 - 1, 2**32 - 2]
    stated = rng.choice([None, None, None, *lengths])
    size = len(body) if stated is None else stated
    mark = rng.choice([b"RIFF"] * 5 + [b"RIFX", b"RF64", b"riff"])
    wide = channels * bits // 8
    fields = (code, channels, rate, rate * wide & 0xFFFFFFFF, wide & 0xFFFF, bits)
    head = struct.pack("<IHHIIHH", 16, *fields)
    path = place / "forged.wav"
    riff = mark + struct.pack("<I", 36 + len(body))
    path.write_bytes(riff + b"WAVEfmt " + head + b"data" + struct.pack("<I", size) + body)
    label = f"{mark!r} {rate} Hz, {channels} channels, code {code}, {bits} bits, {count} samples, {stated}"
    usual = 1_000 <= rate <= 768_000 and (channels, code, bits, mark) == (1, 1, 16, b"RIFF")

    def act() -> None:
        found = _read(path, None)
        assert 1_000 <= rate <= 768_000, "a rate that no recording has was taken"
        if usual and stated is None:
            assert len(found) == -(-count * WANTED_HZ // rate)
        if usual and stated is not None and len(body) + 64 < stated < 2**31 - 2**16:
            raise AssertionError("a length that the file cannot hold was taken")

    return Case(label, act)


def _forged_flac(rng: random.Random, place: Path) -> Case:
    file = io.BytesIO()
    soundfile.write(file, _speechlike(rng, 8_000, 1), 16_000, format="FLAC")
    data = bytearray(file.getvalue())
    # STREAMINFO: 20 bits of rate, 3 of channels, 5 of width, 36 of samples, from byte 18 on.
    stated = rng.choice([0, 1, 8_001, 10**6, 10**9, 2**36 - 1])
    packed = int.from_bytes(data[18:26], "big") >> 36 << 36 | stated
    data[18:26] = packed.to_bytes(8, "big")
    path = place / "forged.flac"
    path.write_bytes(data)

    def act() -> None:
        found = _read(path, None)
        assert len(found) == stated, f"{stated} samples stated, {len(found)} read"

    return Case(f"FLAC of 8000 samples that states {stated}", act)


def _odd_level(rng: random.Random, place: Path) -> Case:
    """Floats that are hardly audio, or none, also as bytes of a streamed corpus."""
    samples = _speechlike(rng, rng.choice([400, 8_000]), rng.choice([1, 2]))
    kind, scale = "scaled", rng.choice([1e-40, 1e-12, 1e-6, 0.1, 1.0, 1.5, 50, 32_768, 1e6, 1e12, 1e30, 3e38])
    with np.errstate(all="ignore"):
        samples = (samples.astype(np.float64) * scale).astype(np.float32)
    if rng.random() < 0.4:
        kind = rng.choice(["nan", "inf", "-inf", "one spike", "constant", "zero"])
        where = rng.randrange(len(samples))
        if kind in ("constant", "zero"):
            samples[:] = 0 if kind == "zero" else 0.3
        else:
            samples[where] = {"one spike": 1e9}.get(kind) or float(kind)
    file = io.BytesIO()
    soundfile.write(file, samples, WANTED_HZ, format="WAV", subtype=rng.choice(["FLOAT", "DOUBLE"]))
    path, streamed = place / "level.wav", rng.random() < 0.3
    path.write_bytes(file.getvalue())

    def act() -> None:
        data = file.getvalue()
        found = decode_audio(io.BytesIO(data), len(data)) if streamed else read_waveform(path)
        with np.errstate(all="ignore"):
            mean = samples.mean(axis=1)
            sound = bool(np.isfinite(mean).all()) and mean.max() - mean.min() >= 2**-15
            sound = sound and float(np.abs(mean).max()) <= LOUDEST
        problem = waveform_problem(found)
        assert (problem is None) == sound, f"said {problem}"
        if problem is not None:
            raise DataError(problem)

    return Case(f"{kind} x {scale:g}, {samples.shape}, {'streamed' if streamed else 'file'}", act)


def _no_file(rng: random.Random, place: Path) -> Case:
    """A name without audio behind it."""
    path = place / rng.choice(["a.wav", "a.flac", "a.raw", "a.mp3", "a.au", "a.vox", "a.gsm", "a", "a.SND"])
    makers: dict[str, Callable[[], object]] = {
        "missing": lambda: None,
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "loop": lambda: path.symlink_to(path),
        "dangling": lambda: path.symlink_to(place / "gone"),
        "device": lambda: path.symlink_to("/dev/zero"),
        "empty": lambda: path.write_bytes(b""),
        "text": lambda: path.write_text("no audio at all " * rng.randrange(1, 300)),
        "page": lambda: path.write_text("<!DOCTYPE html><html>404 not found</html>"),
        "noise": lambda: path.write_bytes(rng.randbytes(rng.randrange(1, 5_000))),
        "pointer": lambda: path.write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
        ),
        "sparse": lambda: _sparse(path),
    }
    kind = rng.choice([*makers, "long name", "zero byte", "surrogate"])
    if kind in makers:
        makers[kind]()
    else:
        path = place / {"long name": "x" * 300, "zero byte": "a\0.wav", "surrogate": "a\ud800.wav"}[kind]

    def act() -> None:
        found = _read(path, None)
        assert kind == "noise", f"{len(found)} samples read from {kind}"

    return Case(f"{kind} named {path.name[:20]!r}", act)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 << 30)


def _read(path: Path, most: float | None) -> Samples:
    """Read a file; what a corpus would refuse for its level or length is refused here too."""
    found = read_waveform(path, WANTED_HZ, most)
    assert found.dtype == np.float32
    assert found.ndim == 1
    problem = waveform_problem(found, min(MIN_SAMPLES, max(len(found), 1)))
    if problem is not None:
        raise DataError(f"{path}: {problem}")
    return found


def _compare(found: Samples, samples: Samples, rate: int, most: float | None, subtype: str) -> None:
    used = samples if most is None else samples[: round(most * rate)]
    length = -(-len(used) * WANTED_HZ // rate)
    assert len(found) == length, f"{len(found)} samples, wanted {length}"
    if subtype in LOSSY:
        return
    mono = used.astype(np.float64).mean(axis=1)
    wanted = _exact(mono, rate)
    worst = float(np.abs(found - wanted).max(initial=0))
    assert worst < 2**-14 + 1e-5, f"off by {worst:.2g}"
    if rate in USUAL_HZ and rate != WANTED_HZ and subtype == "FLOAT":
        plain = torchaudio.functional.resample(torch.from_numpy(used.mean(axis=1)), rate, WANTED_HZ)
        assert np.array_equal(found, plain.numpy()), "not what torchaudio gives"


def _exact(samples: Numbers, rate: int) -> Numbers:
    """Resample by the definition: each sample's own sinc in a Hann window, in float64."""
    if rate == WANTED_HZ:
        return samples
    cutoff = 0.99 * min(1.0, WANTED_HZ / rate)
    reach = int(6 / cutoff) + 2
    padded = np.pad(samples, (reach, reach + 2))
    length = -(-len(samples) * WANTED_HZ // rate)
    result = np.zeros(length)
    for place in range(length):
        whole, rest = divmod(place * rate, WANTED_HZ)
        time = (np.arange(-reach, reach + 2) - rest / WANTED_HZ) * cutoff
        inside = np.abs(time) < 6
        kernel = np.where(inside, np.sinc(time) * np.cos(time * np.pi / 12) ** 2, 0) * cutoff
        result[place] = kernel @ padded[whole : whole + len(kernel)]
    return result


def _format(rng: random.Random) -> tuple[str, str, int]:
    container = rng.choice(list(CONTAINERS))
    subtype = rng.choice(CONTAINERS[container])
    rate = rng.choice(USUAL_HZ if rng.random() < 0.7 else ODD_HZ)
    if subtype == "OPUS":
        rate = rng.choice(OPUS_HZ)
    elif container == "mp3":
        rate = rng.choice(MP3_HZ)
    elif rate > 200_000 and container in ("flac", "ogg"):
        rate = 48_000
    return container, subtype, rate


def _name(rng: random.Random, container: str) -> str:
    suffix = {"wavex": "wav", "rf64": "wav", "nist": "wav"}.get(container, container)
    if container != "mp3" and rng.random() < 0.15:  # mislabelled: libsndfile looks into the file
        suffix = rng.choice(["wav", "flac", "ogg", "mp3", "WAV", "m4a", "txt"])
    stem = rng.choice(["a", "a b", "ä", "音", "a.b", "sub/a", "-a", "a%20b", "x" * 200, "'a'", "a\nb"])
    return f"{stem}.{suffix}"


def _speechlike(rng: random.Random, count: int, channels: int) -> Samples:
    time = np.arange(count)[:, None] / 16_000
    hz = np.array([rng.uniform(50, 400) for _ in range(channels)])
    generator = np.random.default_rng(rng.randrange(2**32))
    tone = 0.3 * np.sin(2 * np.pi * hz * time) + 0.02 * generator.standard_normal((count, channels))
    return tone.astype(np.float32)
