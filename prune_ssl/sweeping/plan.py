"""The plan of a sweep: its trials in one folder, the state of each, and the files that show all of them."""

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml

from prune_ssl.errors import ArtifactError
from prune_ssl.pipeline.folders import DENSE_FOLDER, has_result
from prune_ssl.recipes import Recipe, pruning_part
from prune_ssl.recipes.written import flat_data
from prune_ssl.reporting.pareto import pareto_csv, pareto_html
from prune_ssl.reporting.sweep_point import SweepPoint
from prune_ssl.sweeping.cells import Trial, recipe_of
from prune_ssl.sweeping.points import point_of
from prune_ssl.writing import (
    Held,
    InUseError,
    check_place,
    lock,
    lock_name,
    make_folder,
    remove,
    write_text,
)

State = Literal["finished", "failed", "running", "waiting", "open"]
"""A trial is `waiting` while another trial trains the dense model of its seed."""
SETTINGS = "sweep.yaml"
FAILURES = "failures"
"""The folder that holds one file for each trial that failed, with its error."""
VARIED = ("seed", "output", "pruning.budget", "pruning.budgets", "pruning.method")
"""Keys of the recipe that differ among the trials of a sweep."""
TURN_SECONDS = 0.05
"""The pause before a worker tries again to take the lock of the table."""


@dataclass(frozen=True)
class SweepPlan:
    """All trials of a sweep and their folder, which several workers may share. It can be pickled."""

    recipe: Recipe
    recipes: dict[Trial, Recipe]
    """The recipe of each trial, in their order."""
    out: Path
    notes: tuple[str, ...] = ()
    """Sentences for the page of the sweep."""
    beside: tuple[Path, ...] = ()
    """Folders of other sweeps whose dense models serve this one as well."""
    stale: frozenset[str] = field(default=frozenset(), repr=False)
    """Failures of earlier sweeps. Their trials are tried again."""

    def shown(self, cell: Trial) -> str:
        """Return a trial in a few words, with its number."""
        number = list(self.recipes).index(cell) + 1
        return f"[{number}/{len(self.recipes)}] {cell.method}, {cell.budget}, seed {cell.seed}"

    def state(self, cell: Trial) -> State:
        """Return the state of a trial, as its folder shows it."""
        if has_result(self.out / cell.name):
            return "finished"
        if self.failure(cell) is not None:
            return "failed"
        if (self.out / lock_name(_claim(self.out, cell))).exists():
            return "running"
        return "waiting" if self.waits(cell) else "open"

    def dense_of(self, cell: Trial) -> Path | None:
        """Return the dense model from which a trial starts, or None if the trial trains its own."""
        if self.recipe.dense is None:
            return None
        found = sorted(
            path.parent for path in self.out.glob(f"*-s{cell.seed}/{DENSE_FOLDER}/model.safetensors")
        )
        return found[0] if found and found[0].parent != self.recipes[cell].folder else None

    def waits(self, cell: Trial) -> bool:
        """Return whether a trial must wait until another one has trained the dense model of its seed.

        The first trial of the seed that has not failed trains it.
        """
        if self.recipe.dense is None or any(
            self.out.glob(f"*-s{cell.seed}/{DENSE_FOLDER}/model.safetensors")
        ):
            return False
        of_seed = (each for each in self.recipes if each.seed == cell.seed and self.failure(each) is None)
        return next(of_seed, cell) != cell

    @contextmanager
    def claim(self, cell: Trial) -> Iterator[Held]:
        """Claim a trial for this process. The claim ends with the block, or when the process dies.

        Raises:
            InUseError: another process has claimed it.
        """
        with lock(_claim(self.out, cell)) as held:
            yield held

    def failure(self, cell: Trial) -> str | None:
        """Return the error of a trial that failed in this sweep, or None."""
        try:
            text = (self.out / FAILURES / f"{cell.name}.json").read_text(encoding="utf-8")
            return None if text in self.stale else str(json.loads(text)["error"])
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def note_failure(self, cell: Trial, error: Exception) -> None:
        """Write the error of a trial that failed, so that no other worker of this sweep tries it again."""
        content = {"trial": cell.name, "error": str(error), "token": secrets.token_hex(8)}
        write_text(self.out / FAILURES / f"{cell.name}.json", json.dumps(content, indent=1) + "\n")

    def forget_failure(self, cell: Trial) -> None:
        """Delete the error of a trial that has a result now."""
        remove(self.out / FAILURES / f"{cell.name}.json")

    def points(self) -> list[SweepPoint]:
        """Return one point for each trial with a result."""
        found = ((cell, each.folder / "report.json") for cell, each in self.recipes.items())
        return [point_of(path, cell.budget, cell.method, cell.seed) for cell, path in found if path.is_file()]

    def write(self) -> None:
        """Write `pareto.html` and `pareto.csv` of the trials that have a result."""
        with _in_turn(self.out / "pareto"):  # so that no worker writes an older table over a newer one
            points = self.points()
            if points:
                page = pareto_html(points, f"Sweep of {self.recipe.name}", self.notes)
                write_text(self.out / "pareto.csv", pareto_csv(points))
                write_text(self.out / "pareto.html", page)


def lay_out(
    recipe: Recipe,
    cells: Sequence[Trial],
    out: Path,
    notes: Sequence[str] = (),
    beside: Sequence[Path] = (),
) -> SweepPlan:
    """Make the plan of a sweep, and its folder with the settings that all trials share.

    Args:
        recipe: The recipe of all trials.
        cells: The trials.
        out: The folder of all runs.
        notes: Sentences for the page of the sweep.
        beside: Folders of other sweeps whose dense models serve this one as well.

    Raises:
        ArtifactError: `out` holds a sweep with other settings, or is not writable.
        RecipeError: the recipe does not prune, or a trial's method does not exist.
    """
    pruning_part(recipe)
    recipes = {cell: recipe_of(recipe, cell, out) for cell in cells}
    check_place(out)
    make_folder(out)
    _check_settings(recipe, out)
    stale = frozenset(path.read_text(encoding="utf-8") for path in (out / FAILURES).glob("*.json"))
    return SweepPlan(recipe, recipes, out, tuple(notes), tuple(beside), stale)


def _claim(out: Path, cell: Trial) -> Path:
    """Return the path whose lock claims a trial. The run itself locks the trial's folder."""
    return out / f"{cell.name}.claim"


@contextmanager
def _in_turn(path: Path) -> Iterator[None]:
    """Wait for the lock of a path, and hold it."""
    while True:
        try:
            with lock(path):
                yield
                return
        except InUseError:
            time.sleep(TURN_SECONDS)


def _check_settings(recipe: Recipe, out: Path) -> None:
    """Write the settings that all trials share, or refuse a folder of trials with other settings."""
    shared = {key: value for key, value in flat_data(recipe).items() if key not in VARIED}
    path = out / SETTINGS
    if not path.is_file():
        write_text(path, yaml.safe_dump(shared, sort_keys=False))
        return
    before = yaml.safe_load(path.read_text(encoding="utf-8"))
    changed = sorted(key for key in before.keys() | shared.keys() if before.get(key) != shared.get(key))
    if changed:
        raise ArtifactError(
            f"{out} holds a sweep with other settings ({', '.join(changed)} differ), and models of both "
            "would be mixed in one table: give another --out."
        )
