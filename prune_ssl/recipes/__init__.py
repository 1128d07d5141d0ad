"""Recipes: checked YAML files that describe a run, their smoke versions and their catalogue."""

from prune_ssl.recipes.parts import config_of
from prune_ssl.recipes.schema import Recipe, load_recipe, make_recipe, pruning_part
from prune_ssl.recipes.sections import DistillationPart, ModelPart, StudentPart, TrainPart

__all__ = [
    "DistillationPart",
    "ModelPart",
    "Recipe",
    "StudentPart",
    "TrainPart",
    "config_of",
    "load_recipe",
    "make_recipe",
    "pruning_part",
]
