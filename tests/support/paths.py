"""Where the repository has what the tests read."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
WORDS = ROOT / "prune_ssl" / "assets" / "words"
