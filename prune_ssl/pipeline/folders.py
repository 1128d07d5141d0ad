"""The folder of a run: its lock, its recipe, and the signs by which a run is begun or finished."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml
from torch import nn

from prune_ssl.errors import ArtifactError
from prune_ssl.pipeline.arguments import DENSE_TRAINING
from prune_ssl.recipes import Recipe, load_recipe
from prune_ssl.recipes.written import flat_data, recipe_as_yaml
from prune_ssl.training.processes import from_first
from prune_ssl.writing import (
    Held,
    as_artifact_error,
    check_room,
    clear_below,
    lock,
    lock_name,
    make_folder,
    real_place,
    remove,
    write_text,
)

RECIPE_FILE = "recipe.yaml"
"""The first file that a run writes into its folder."""
FINISHED_FILE = "finished.json"
"""The last file that a run writes, after its models and reports. Only checkpoints are deleted after it."""
DENSE_FOLDER = "dense"
CONTROL = "control"
TRAININGS = (DENSE_TRAINING, CONTROL, "pruning", "distillation")
"""Folders of checkpoints. A finished run has none of them."""
MOST_DIFFERENCES = 5
"""A message shows at most so many differences of two recipes."""
ADAM_BYTES = 8  # two moments of each parameter
CHECKPOINTS_AT_ONCE = 3  # two are kept while the next is written


@contextmanager
def held(folder: Path) -> Iterator[Callable[[], None]]:
    """Lock the folder of a run. Call the yielded function once the folder exists, to guard it.

    Raises:
        ArtifactError: another run holds the folder, or it is not writable. Every process of this run raises.
    """
    with ExitStack() as stack:
        locks = list[Held]()
        from_first(lambda: locks.append(stack.enter_context(lock(folder))))

        def watch() -> None:
            for each in locks:
                each.guard()

        yield watch


def is_begun(recipe: Recipe) -> bool:
    """Return whether the output folder belongs to an earlier run of this recipe.

    Raises:
        ArtifactError: the folder belongs to a run of another recipe.
    """
    path = recipe.folder / RECIPE_FILE
    if not path.is_file() or path.stat().st_size == 0:  # a full disk may have left an empty file
        return False
    before = load_recipe(path)
    if recipe_as_yaml(before) != recipe_as_yaml(recipe):
        raise ArtifactError(
            f"{path} differs from this recipe: {_differences(before, recipe)}. Its checkpoints depend on "
            "its settings, such as learning rates, so a run with other settings cannot continue from them. "
            "Give the old recipe to resume, another output folder, or --overwrite to start again."
        )
    return True


def _differences(before: Recipe, now: Recipe) -> str:
    """Return the first few keys in which two recipes differ, with the values of both."""
    there, here = flat_data(before), flat_data(now)
    keys = [key for key in dict.fromkeys([*there, *here]) if there.get(key) != here.get(key)]
    words = [f"{key} was {there.get(key)}, is {here.get(key)}" for key in keys[:MOST_DIFFERENCES]]
    more = len(keys) - len(words)
    return "; ".join(words + [f"and {more} more"] * (more > 0))


def is_finished(recipe: Recipe) -> bool:
    """Return whether an earlier run of this recipe is finished and all its products still exist.

    Raises:
        ArtifactError: the folder belongs to a run of another recipe.
    """
    return is_begun(recipe) and _products(recipe.folder) is not None


def _products(folder: Path) -> list[Path] | None:
    """Return the models and reports of a finished run, or None if it is not finished or one is missing."""
    try:
        listed = json.loads((folder / FINISHED_FILE).read_text(encoding="utf-8"))
        found = [folder / str(name) for name in (*listed["models"], *listed["reports"])]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return found if all(path.exists() for path in found) else None


def begin(recipe: Recipe) -> None:
    """Make the folder of a new run with its recipe. The content of an old one is deleted."""
    text, folder = recipe_as_yaml(recipe), real_place(recipe.folder)
    with as_artifact_error(folder):
        if folder.is_dir() and any(folder.iterdir()):
            remove(folder)
    make_folder(folder)
    write_text(folder / RECIPE_FILE, text)


def clear_interrupted(recipe: Recipe) -> None:
    """Prepare the folder of an interrupted run for resuming: delete all that is incomplete or not needed."""
    folder = recipe.folder
    remove(folder / FINISHED_FILE)  # some of its products are missing
    clear_below(folder)
    if (folder / DENSE_FOLDER).is_dir():
        remove(folder / DENSE_TRAINING)


def tidy(folder: Path) -> None:
    """Delete the leftovers of a run that was stopped at its very start: a partial or empty recipe."""
    clear_below(folder, deep=False)
    with as_artifact_error(folder):
        path = folder / RECIPE_FILE
        if folder.is_dir() and list(folder.iterdir()) == [path] and path.stat().st_size == 0:
            remove(path)


def finish(folder: Path, models: Sequence[str], reports: Sequence[str]) -> None:
    """Record that a run is finished, then delete its checkpoints."""
    content = {"models": list(models), "reports": list(reports)}
    write_text(folder / FINISHED_FILE, json.dumps(content, indent=1) + "\n")
    clear_finished(folder)


def clear_finished(folder: Path) -> None:
    """Delete the files that a finished run does not need."""
    clear_below(folder)
    for name in TRAININGS:
        remove(folder / name)


def is_clear(folder: Path) -> bool:
    """Return whether `clear_finished` has nothing to do."""
    kept = [folder / name for name in TRAININGS] + [folder.with_name(lock_name(folder))]
    return not any(path.exists() for path in kept) and not any(folder.rglob(".*"))


def has_result(folder: Path) -> bool:
    """Return whether a run of any recipe is finished. Earlier versions wrote no finished.json."""
    over = (folder / "report.json").is_file() and not any((folder / name).exists() for name in TRAININGS)
    return over or _products(folder) is not None


def check_disk(recipe: Recipe, model: nn.Module, replaces: bool) -> None:
    """Refuse a run if the disk has no space for its models and checkpoints.

    Args:
        recipe: The recipe.
        model: The dense model.
        replaces: Whether the present content of the folder is deleted first, or belongs to this run.

    Raises:
        ArtifactError: the disk has less free space.
    """
    needed, pruned = bytes_of_run(recipe, model), _has_checkpoints(recipe)
    files = [path for path in recipe.folder.rglob("*") if path.is_file()] if replaces else []
    with as_artifact_error(recipe.folder):
        freed = sum(path.stat().st_size for path in files)
    content = "the models of the run" + " and its checkpoints" * pruned
    check_room(recipe.folder, needed, content, freed)


def bytes_of_run(recipe: Recipe, model: nn.Module) -> int:
    """Return the most bytes that the models of a run and its checkpoints take on the disk.

    Args:
        recipe: The recipe.
        model: The dense model.
    """
    tensors = [*model.parameters(), *model.buffers()]
    weights = sum(each.numel() * each.element_size() for each in tensors)
    checkpoint = weights + ADAM_BYTES * sum(each.numel() for each in model.parameters())
    checkpoints = _has_checkpoints(recipe) * CHECKPOINTS_AT_ONCE * checkpoint
    return weights * (1 if recipe.dense is None else 2) + checkpoints


def _has_checkpoints(recipe: Recipe) -> bool:
    return recipe.checkpoint_steps is not None and recipe.student is None


def require_replaceable(folder: Path) -> None:
    """Refuse to delete a folder that no run of prune_ssl has written.

    Raises:
        ArtifactError: the folder holds other things than a run, or it contains the working directory.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if Path.cwd().is_relative_to(folder.resolve()):
        raise ArtifactError(
            f"{folder} holds the working directory, so --overwrite does not delete it. Give another output "
            "folder."
        )
    if not _was_written_by_a_run(folder):
        raise ArtifactError(
            f"{folder} has no {RECIPE_FILE} of an earlier run, so --overwrite does not delete it. Give "
            "another output folder, or empty this one yourself."
        )


def _was_written_by_a_run(folder: Path) -> bool:
    """Return whether a run wrote the recipe in a folder. It may be a run of another version of prune_ssl."""
    try:
        written = yaml.safe_load((folder / RECIPE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    # A run writes every section, also those with default values.
    return isinstance(written, dict) and {"name", "data", "model", "report", "smoke", "output"} <= set(
        written
    )
