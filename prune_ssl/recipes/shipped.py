"""The recipes that come with the package, and the search for a recipe by its name."""

import os
from difflib import get_close_matches
from pathlib import Path

from prune_ssl.errors import RecipeError
from prune_ssl.writing import write_text

IN_WHEEL = Path(__file__).parent / "files"
"""The folder of the recipes in a wheel (`building.py` puts them there)."""
IN_CLONE = Path(__file__).parents[2] / "recipes"
"""The folder of the recipes in a clone, or in an editable install of it."""


def shipped_folder() -> Path:
    """Return the folder of the recipes that come with the package."""
    return IN_WHEEL if IN_WHEEL.is_dir() else IN_CLONE


def shipped_names() -> list[str]:
    """Return the names of the recipes that come with the package, without `.yaml`.

    >>> "ks_digits_hj_mac" in shipped_names()
    True
    """
    return sorted(path.stem for path in shipped_folder().glob("*.yaml"))


def recipe_file(given: str | Path) -> Path:
    """Return the file of a recipe, given by its path or by the name of a recipe of the package.

    Raises:
        RecipeError: there is no such file and no such name. The message suggests a similar one.
    """
    text = str(given)
    if os.path.isfile(text) or (os.path.exists(text) and not os.path.isdir(text)):
        return Path(given)
    names, stem = shipped_names(), Path(text).name.removesuffix(".yaml").removesuffix(".yml")
    if text in names:
        return shipped_folder() / f"{text}.yaml"
    why = "it is a folder" if os.path.isdir(text) else "there is no such file"
    near = [stem] if stem in names else get_close_matches(stem, [*names, *_beside(text)], n=1, cutoff=0.6)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise RecipeError(
        f"cannot read the recipe {text!r:.200}: {why}. {hint}Wanted a YAML file, or the name of a recipe of "
        "the package (`prune-ssl recipes` lists them)."
    )


def _beside(text: str) -> list[str]:
    """Return the YAML files in a path if it is a folder, else in the folder of the path."""
    folder = Path(text) if os.path.isdir(text) else Path(text).parent
    try:
        return [str(path) for path in sorted(folder.glob("*.y*ml"))[:100]] if "\0" not in text else []
    except OSError:
        return []


def copy_shipped(name: str, folder: Path = Path()) -> Path:
    """Copy a recipe of the package into a folder, where it can be edited, and return its path.

    Raises:
        RecipeError: there is no such recipe, or the file exists already.
        ArtifactError: the file cannot be written.
    """
    if name.removesuffix(".yaml") not in shipped_names():
        near = get_close_matches(name, shipped_names(), n=1, cutoff=0.4)
        raise RecipeError(
            f"no recipe {name!r:.100} in the package; "
            + (f"did you mean {near[0]}? " if near else "")
            + "`prune-ssl recipes` lists them."
        )
    source = shipped_folder() / f"{name.removesuffix('.yaml')}.yaml"
    target = folder / source.name
    if os.path.lexists(target):
        raise RecipeError(
            f"{target} exists already, so nothing was written. Rename it, or copy to another folder."
        )
    write_text(target, source.read_text(encoding="utf-8"))
    return target
