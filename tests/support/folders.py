"""A folder of tones in two splits with two labels."""

import csv
from pathlib import Path

import numpy as np


def tone(seconds: float = 0.1, rate: int = 16_000, hz: float = 440.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_metadata(
    folder: Path, rows: list[tuple[str, str]], header: tuple[str, ...] = ("file_name", "label")
) -> None:
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
