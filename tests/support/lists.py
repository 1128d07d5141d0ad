"""A corpus whose lists a test writes."""

import os
from pathlib import Path

import numpy as np
import soundfile

from prune_ssl.data import FolderConfig, check_folder

NAMES = ("a.wav", "b.wav", "c d.wav")


def clip(path: Path, hz: int = 9) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(os.fsencode(path), 0.3 * np.sin(np.arange(500) / hz), 16_000, format="WAV")


def found(root: Path, target: str = "label") -> list[tuple[str, str]]:
    opened = check_folder(root, FolderConfig(target=target, closed_labels=False))
    return [(clip.path.name, clip.target) for clip in opened.splits["train"]]


PLAIN = [("a.wav", "yes"), ("b.wav", "007"), ("c d.wav", "ja, nein")]


BODY = 'a.wav,yes\nb.wav,007\nc d.wav,"ja, nein"\n'
