"""The shipped words as the clips that a recipe trains on."""

from functools import cache

from prune_ssl.pipeline.corpora import corruption_of, read_clips, training_clips
from prune_ssl.recipes import Recipe, load_recipe
from prune_ssl.tasks import Classification
from tests.support.paths import ROOT, WORDS


def recipe_of(*overrides: str) -> Recipe:
    shared = [f"data.path={WORDS}", "data.augment=false"]
    return load_recipe(ROOT / "recipes" / "ks_digits_hj_mac_kd.yaml", [*shared, *overrides])


@cache
def words():
    return read_clips(recipe_of(), lambda line: None)


def clips_of(recipe: Recipe, dense: bool = False):
    task = Classification.from_folder(words())
    return training_clips(recipe, words(), task, corruption_of(recipe), dense)
