"""The recipes that come with the package: where they are, and which one is meant by a name."""

import os
from difflib import get_close_matches
from pathlib import Path

from prune_ssl.errors import RecipeError
from prune_ssl.writing import write_text

IN_WHEEL = Path(__file__).parent / "files"
"""Where a wheel has them (`building.py` puts them there)."""
IN_CLONE = Path(__file__).parents[2] / "recipes"
"""Where a clone, or an editable install of it, has them."""


def shipped_folder() -> Path:
    """Return the folder of the recipes that come with the package."""
    return IN_WHEEL if IN_WHEEL.is_dir() else IN_CLONE


def shipped_names() -> list[str]:
    """Return the names of these recipes, without `.yaml`."""
    return sorted(path.stem for path in shipped_folder().glob("*.yaml"))


def recipe_file(given: str | Path) -> Path:
    """Return the file that a path, or the name of a recipe of the package, means.

    Raises:
        RecipeError: there is no such file and no such name; it says which one is near.
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
    """Return the YAML files in the folder of a path, or in the path where it is a folder."""
    folder = Path(text) if os.path.isdir(text) else Path(text).parent
    try:
        return [str(path) for path in sorted(folder.glob("*.y*ml"))[:100]] if "\0" not in text else []
    except OSError:
        return []


def copy_shipped(name: str, folder: Path = Path()) -> Path:
    """Write a recipe of the package into a folder, to be edited there, and return its path.

    Raises:
        RecipeError: there is no such recipe, or the file exists already.
        ArtifactError: it cannot be written.
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
        raise RecipeError(f"{target} exists already; nothing was written. Rename it, or copy elsewhere.")
    write_text(target, source.read_text(encoding="utf-8"))
    return target
