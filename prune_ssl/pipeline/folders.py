"""Owns the folder of a run: who writes to it, which recipe it is of, and whether the run is finished."""

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
"""What a run writes into its folder first."""
FINISHED_FILE = "finished.json"
"""What it writes last, when its models and reports stand and only checkpoints are left to be deleted."""
DENSE_FOLDER = "dense"
TRAININGS = (DENSE_TRAINING, "pruning", "distillation")
"""Folders of checkpoints; none is there when the run is over."""
MOST_DIFFERENCES = 5
"""Of two recipes, how many a message shows."""
ADAM_BYTES = 8  # of each parameter: two moments
CHECKPOINTS_AT_ONCE = 3  # two are kept while the next is written


@contextmanager
def held(folder: Path) -> Iterator[Callable[[], None]]:
    """Keep other runs out of a folder; call what is given once the folder is there, to watch over it.

    Raises:
        ArtifactError: another run is in it, or it cannot be written to; every process of this run raises it.
    """
    with ExitStack() as stack:
        locks = list[Held]()
        from_first(lambda: locks.append(stack.enter_context(lock(folder))))

        def watch() -> None:
            for each in locks:
                each.guard()

        yield watch


def is_begun(recipe: Recipe) -> bool:
    """Whether the output folder is that of an earlier run of this recipe.

    Raises:
        ArtifactError: it is that of another one.
    """
    path = recipe.folder / RECIPE_FILE
    if not path.is_file() or path.stat().st_size == 0:  # full disks have left empty ones
        return False
    before = load_recipe(path)
    if recipe_as_yaml(before) != recipe_as_yaml(recipe):
        raise ArtifactError(
            f"{path} differs from this recipe: {_differences(before, recipe)}. Its checkpoints hold the "
            "state of its own settings, learning rates among them, so no other run can go on from them. Give "
            "the recipe as it was to resume, another output folder, or --overwrite to begin anew."
        )
    return True


def _differences(before: Recipe, now: Recipe) -> str:
    """Return the keys in which two recipes differ, with the values of both, the first few of them."""
    there, here = flat_data(before), flat_data(now)
    keys = [key for key in dict.fromkeys([*there, *here]) if there.get(key) != here.get(key)]
    words = [f"{key} was {there.get(key)}, is {here.get(key)}" for key in keys[:MOST_DIFFERENCES]]
    more = len(keys) - len(words)
    return "; ".join(words + [f"and {more} more"] * (more > 0))


def is_finished(recipe: Recipe) -> bool:
    """Whether an earlier run of this recipe has made everything, and it is still there.

    Raises:
        ArtifactError: the folder is that of another recipe.
    """
    return is_begun(recipe) and _products(recipe.folder) is not None


def _products(folder: Path) -> list[Path] | None:
    """Return the models and reports of a finished run; None where the run is not, or one is missing."""
    try:
        said = json.loads((folder / FINISHED_FILE).read_text(encoding="utf-8"))
        found = [folder / str(name) for name in (*said["models"], *said["reports"])]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return found if all(path.exists() for path in found) else None


def begin(recipe: Recipe) -> None:
    """Make the folder anew, with the recipe in it."""
    text, folder = recipe_as_yaml(recipe), real_place(recipe.folder)
    with as_artifact_error(folder):
        if folder.is_dir() and any(folder.iterdir()):
            remove(folder)
    make_folder(folder)
    write_text(folder / RECIPE_FILE, text)


def take_up(recipe: Recipe) -> None:
    """Make the folder of a run that was interrupted ready for going on: only what stands is left in it."""
    folder = recipe.folder
    remove(folder / FINISHED_FILE)  # some of what it lists is gone
    clear_below(folder)
    if (folder / DENSE_FOLDER).is_dir():
        remove(folder / DENSE_TRAINING)


def tidy(folder: Path) -> None:
    """Take away what a run that was stopped at its very start has left: half a recipe, or an empty one."""
    clear_below(folder, deep=False)
    with as_artifact_error(folder):
        path = folder / RECIPE_FILE
        if folder.is_dir() and list(folder.iterdir()) == [path] and path.stat().st_size == 0:
            remove(path)


def finish(folder: Path, models: Sequence[str], reports: Sequence[str]) -> None:
    """Note that a run has made everything, then delete its checkpoints."""
    content = {"models": list(models), "reports": list(reports)}
    write_text(folder / FINISHED_FILE, json.dumps(content, indent=1) + "\n")
    clear_finished(folder)


def clear_finished(folder: Path) -> None:
    """Delete what a finished run does not need any more."""
    clear_below(folder)
    for name in TRAININGS:
        remove(folder / name)


def is_clear(folder: Path) -> bool:
    """Whether there is nothing for `clear_finished` to do."""
    kept = [folder / name for name in TRAININGS] + [folder.with_name(lock_name(folder))]
    return not any(path.exists() for path in kept) and not any(folder.rglob(".*"))


def has_result(folder: Path) -> bool:
    """Whether a run has made everything, whichever its recipe; earlier versions left no note of it."""
    over = (folder / "report.json").is_file() and not any((folder / name).exists() for name in TRAININGS)
    return over or _products(folder) is not None


def check_disk(recipe: Recipe, model: nn.Module, replaces: bool) -> None:
    """Refuse a run whose models and checkpoints the disk has no room for.

    Args:
        recipe: the recipe.
        model: the dense model.
        replaces: what is in the folder now is deleted first, or is a part of what the run needs.

    Raises:
        ArtifactError: less is free.
    """
    tensors = [*model.parameters(), *model.buffers()]
    weights = sum(each.numel() * each.element_size() for each in tensors)
    checkpoint = weights + ADAM_BYTES * sum(each.numel() for each in model.parameters())
    pruned = recipe.checkpoint_steps is not None and recipe.student is None
    needed = weights * (1 if recipe.dense is None else 2) + pruned * CHECKPOINTS_AT_ONCE * checkpoint
    files = [path for path in recipe.folder.rglob("*") if path.is_file()] if replaces else []
    with as_artifact_error(recipe.folder):
        freed = sum(path.stat().st_size for path in files)
    what = "the models of the run" + " and its checkpoints" * pruned
    check_room(recipe.folder, needed, what, freed)


def require_replaceable(folder: Path) -> None:
    """Refuse to delete what no run of ours has written.

    Raises:
        ArtifactError: the folder holds other things than a run, or the working directory.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if Path.cwd().is_relative_to(folder.resolve()):
        raise ArtifactError(
            f"{folder} holds the working directory, so --overwrite does not delete it. Give another output "
            "folder."
        )
    if not _is_of_a_run(folder):
        raise ArtifactError(
            f"{folder} has no {RECIPE_FILE} of an earlier run, so --overwrite does not delete it. Give "
            "another output folder, or empty this one yourself."
        )


def _is_of_a_run(folder: Path) -> bool:
    """Whether a run wrote the recipe in a folder, perhaps one that knew other keys than this version."""
    try:
        written = yaml.safe_load((folder / RECIPE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    # A run writes every section, also those that nobody gives.
    return isinstance(written, dict) and {"name", "data", "model", "report", "smoke", "output"} <= set(
        written
    )
