"""Owns where the shipped words and the shipped demo model lie. The scripts in `tools/` made them."""

from pathlib import Path

WORDS_DIR = Path(__file__).parent / "words"
"""Folder of the synthetic words: train, validation and test, each an audiofolder with a metadata.csv."""

DEMO_MODEL_DIR = Path(__file__).parent / "demo_model"
"""Folder of the small HuBERT-shaped word classifier that the demo prunes."""

LABELS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "start", "back")
"""The words, in the order of the demo model's class indices."""

SAMPLE_RATE_HZ = 16_000
"""Sample rate of every shipped clip."""

__all__ = ["DEMO_MODEL_DIR", "LABELS", "SAMPLE_RATE_HZ", "WORDS_DIR"]
