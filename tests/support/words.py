"""The shipped words as the clips that a recipe trains on."""

from functools import cache

from prune_ssl.pipeline.corpora import Corpus, augmentation_of, corruption_of, read_corpus
from prune_ssl.recipes import Recipe, load_recipe
from prune_ssl.tasks import Classification
from tests.support.paths import ROOT, WORDS


def recipe_of(*overrides: str) -> Recipe:
    shared = [f"data.path={WORDS}", "data.augment=false"]
    return load_recipe(ROOT / "recipes" / "ks_digits_hj_mac_kd.yaml", [*shared, *overrides])


@cache
def words():
    return read_corpus(recipe_of(), lambda line: None).clips


def clips_of(recipe: Recipe, dense: bool = False):
    task = Classification.from_folder(words())
    data = recipe.data
    corpus = Corpus(data, words(), None, augmentation_of(data), corruption_of(data))
    return corpus.training(task, to_teach_clean=dense and recipe.distillation is not None)
