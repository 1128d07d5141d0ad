"""Variants of a recipe that only fine-tunes: each is run once, and a table compares them."""

from pathlib import Path

import numpy as np
import pytest

from prune_ssl.errors import RecipeError
from prune_ssl.pipeline import variants
from prune_ssl.pipeline.variants import Variant, run_variants
from prune_ssl.recipes import Recipe, load_recipe
from prune_ssl.reporting import RunFacts, report
from prune_ssl.tasks import Outcomes, paired_difference
from tests.support.models import tiny_model
from tests.support.paths import RECIPES

RIGHT = {"nothing": 0.9, "backbone": 0.6}


def outcomes_of(part: str, seed: int) -> Outcomes:
    generator = np.random.default_rng(seed)
    hits = tuple(int(draw < RIGHT[part]) for draw in generator.random(60))
    return Outcomes("accuracy", hits)


def test_frozen_and_fine_tuned_are_compared_on_the_same_clips(tmp_path: Path, monkeypatch) -> None:
    ran = []

    def fake(recipe: Recipe, overwrite: bool, say: object, resume: bool) -> None:
        part = recipe.dense.freeze or "nothing"
        ran.append(Variant(part, recipe.seed).name)
        found = outcomes_of(part, recipe.seed)
        facts = RunFacts(outcomes={"fine_tuned": found.to_data()})
        results = {"fine_tuned": found.metrics()}
        made = report(tiny_model(num_labels=2), results=results, with_latency=False, facts=facts)
        recipe.folder.mkdir(parents=True)
        made.save(recipe.folder / "report.json")

    monkeypatch.setattr(variants, "run", fake)
    recipe = load_recipe(RECIPES / "ks_digits_dense.yaml")
    table = run_variants(recipe, ["nothing", "backbone"], [0, 1], tmp_path / "out", lambda line: None)
    assert ran == ["nothing-s0", "backbone-s0", "nothing-s1", "backbone-s1"]
    head, _, first, second = table.splitlines()
    assert head == "| frozen | seeds | accuracy | minus nothing |"
    one, other = ([outcomes_of(part, seed) for seed in (0, 1)] for part in RIGHT)
    assert f"| nothing | 0, 1 | {np.mean([each.value for each in one]):.1%} |  |" == first
    difference = paired_difference(one, other)
    assert f"accuracy {100 * difference.difference:+.1f} points (" in second
    rows = (tmp_path / "out" / "variants.csv").read_text().splitlines()
    assert rows[0] == "frozen,seed,accuracy"
    assert len(rows) == 5
    again = run_variants(recipe, ["nothing", "backbone"], [0, 1], tmp_path / "out", lambda line: None)
    assert again == table
    assert len(ran) == 4, "finished runs are kept"


def test_a_recipe_that_prunes_has_no_frozen_variants(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--freeze compares runs that only fine-tune"):
        run_variants(load_recipe(RECIPES / "ks_digits_hj_mac.yaml"), ["nothing"], [0], tmp_path)
