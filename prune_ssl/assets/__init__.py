"""Owns the places of the shipped words and models. Scripts in `tools/` and `benchmarks/` made them."""

from pathlib import Path

WORDS_DIR = Path(__file__).parent / "words"
"""Folder of the synthetic words: train, validation and test, each an audiofolder with a metadata.csv."""

DEMO_MODEL_DIR = Path(__file__).parent / "demo_model"
"""Folder of the small HuBERT-shaped word classifier that the demo prunes."""

SMALL_HUBERT_DIR = Path(__file__).parent / "small_hubert"
"""Folder of the small HuBERT that `benchmarks/pretrain_small.py` pretrained without labels."""

SHIPPED_MODELS = {folder.name: folder for folder in (DEMO_MODEL_DIR, SMALL_HUBERT_DIR)}
"""Name -> folder. Commands and recipes take these names wherever they take a model."""

LABELS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "start", "back")
"""The words, in the order of the demo model's class indices."""

SAMPLE_RATE_HZ = 16_000
"""Sample rate of every shipped clip."""

__all__ = ["DEMO_MODEL_DIR", "LABELS", "SAMPLE_RATE_HZ", "SHIPPED_MODELS", "SMALL_HUBERT_DIR", "WORDS_DIR"]
