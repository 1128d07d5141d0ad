"""Smoke versions of recipes."""

from dataclasses import replace
from pathlib import Path

from prune_ssl.recipes import load_recipe
from prune_ssl.recipes.smoke import STEPS, smoke_version

RECIPE = Path(__file__).parents[2] / "recipes" / "ks_digits_hj_mac.yaml"


def test_a_smoke_run_keeps_all_that_is_given_of_dense_training_but_its_length() -> None:
    given = ["dense.learning_rate=0.03", "dense.scheduler=cosine", "dense.warmup_ratio=0.2"]
    loaded = load_recipe(RECIPE, [*given, "dense.freeze=frontend"])
    assert loaded.dense is not None
    assert smoke_version(loaded).dense == replace(loaded.dense, steps=STEPS)
    assert smoke_version(load_recipe(RECIPE, ["dense=null"])).dense is not None
