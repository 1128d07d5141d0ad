"""Recipes: what a run is to do, as a checked YAML file; their smoke versions and their catalogue."""

from prune_ssl.recipes.schema import (
    DistillationPart,
    ModelPart,
    Recipe,
    StudentPart,
    TrainPart,
    load_recipe,
    make_recipe,
    pruning_part,
)

__all__ = [
    "DistillationPart",
    "ModelPart",
    "Recipe",
    "StudentPart",
    "TrainPart",
    "load_recipe",
    "make_recipe",
    "pruning_part",
]
