"""Parquet files of clips, as the hub has them."""

import io
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

NAMES = ["no", "yes"]


def encoded(samples: np.ndarray, rate: int = 16_000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def tone(index: int, seconds: float = 0.2, rate: int = 16_000) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * (200 + 50 * index) * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


def parquet(folder: Path, clips: list[bytes], split: str = "train", labels: list[int] | None = None) -> Path:
    """A split as the hub has it: encoded audio and a class label."""
    label, text = datasets.ClassLabel(names=NAMES), datasets.Value("string")
    features = datasets.Features(audio=datasets.Audio(), label=label, text=text)
    rows = {
        "audio": [{"bytes": clip, "path": f"{index}.wav"} for index, clip in enumerate(clips)],
        "label": labels or [index % 2 for index in range(len(clips))],
        "text": [f"N{index}" for index in range(len(clips))],
    }
    folder.mkdir(exist_ok=True)
    table = pa.table(rows, schema=features.arrow_schema)
    pq.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    return folder


def both_splits(folder: Path, count: int = 12) -> Path:
    parquet(folder, [encoded(tone(index)) for index in range(count)])
    return parquet(folder, [encoded(tone(index)) for index in range(4)], "validation")
