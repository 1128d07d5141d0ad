"""Write a recipe as plain data, or as YAML that gives the same recipe when it is read back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from prune_ssl.errors import RecipeError
from prune_ssl.recipes.schema import Recipe, make_recipe


def recipe_as_data(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as plain data for YAML and JSON. Infinite numbers stay numbers."""
    return {key: _plain(value) for key, value in recipe.model_dump().items()}


def shareable_data(recipe: Recipe) -> dict[str, object]:
    """Return a recipe as plain data for a report, which others may read.

    Absolute paths are cut to their last name. The recipe.yaml of a run holds them whole.

    >>> from prune_ssl.recipes import load_recipe
    >>> shareable_data(load_recipe("ks_digits_hj_mac", ["data.path=/home/me/digits"]))["data"]["path"]
    'digits'
    """
    return {key: _without_places(value) for key, value in recipe_as_data(recipe).items()}


def _without_places(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_places(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_places(each) for each in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def flat_data(recipe: Recipe) -> dict[str, object]:
    """Return a recipe as plain data by its dotted keys, such as `dense.learning_rate`."""
    return _flat(recipe_as_data(recipe), "")


def _flat(data: Mapping[str, object], prefix: str) -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in data.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, Path):
        return str(value)
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def recipe_as_yaml(recipe: Recipe) -> str:
    """Return a recipe as YAML with all its keys.

    Raises:
        RecipeError: a value would give another recipe when the YAML is read back.
    """
    try:
        text = yaml.safe_dump(recipe_as_data(recipe), sort_keys=False)
        again = yaml.safe_dump(recipe_as_data(make_recipe(yaml.safe_load(text))), sort_keys=False)
    except (yaml.YAMLError, ValueError) as error:
        raise RecipeError(
            f"{recipe.name}: it cannot be written as YAML: {' '.join(str(error).split())}."
        ) from error
    if again != text:
        pairs = zip(text.splitlines(), again.splitlines(), strict=False)
        wrong = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
        raise RecipeError(
            f"{recipe.name}: a resumed run would read another recipe: {wrong[0].strip()!r} reads back as "
            f"{wrong[1].strip()!r}."
        )
    return text
