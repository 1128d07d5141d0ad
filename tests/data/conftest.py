"""Corpora of tones that several tests of the room read."""

from pathlib import Path

import pytest
import soundfile

from tests.support.folders import tone, write_metadata
from tests.support.lists import NAMES, clip


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A corpus whose train has clips and no list."""
    root = tmp_path / "corpus"
    for index, name in enumerate(NAMES):
        clip(root / "train" / name, 9 + index)
    clip(root / "validation" / "v.wav", 30)
    (root / "validation" / "metadata.csv").write_text("file_name,label\nv.wav,yes\n")
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two labels, two clips each, in train and validation."""
    root = tmp_path / "words"
    for split in ("train", "validation"):
        (root / split).mkdir(parents=True)
        rows = []
        for index in range(4):
            name = f"{index}.wav"
            soundfile.write(root / split / name, tone(0.1 + 0.01 * index), 16_000)
            rows.append((name, "yes" if index < 2 else "no"))
        write_metadata(root / split, rows)
    return root
