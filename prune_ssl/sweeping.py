"""Sweeps: run (or resume) a recipe at a set of budgets, methods and seeds, and write a Pareto report."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import yaml

from prune_ssl.errors import ArtifactError, PruneError, RecipeError
from prune_ssl.measuring import speed_up
from prune_ssl.pipeline import run
from prune_ssl.pipeline.folders import clear_finished, has_result, held, is_clear
from prune_ssl.recipes import Recipe, load_recipe, make_recipe, pruning_part
from prune_ssl.recipes.written import flat_data, recipe_as_data, recipe_as_yaml
from prune_ssl.reporting import Report
from prune_ssl.reporting.pareto import pareto_csv, pareto_html
from prune_ssl.reporting.sweep_point import SweepPoint
from prune_ssl.selection import parse_budget
from prune_ssl.tasks import outcomes_from_data
from prune_ssl.writing import check_place, make_folder, write_text

Say = Callable[[str], None]
BARE_PERCENT = re.compile(r"[0-9.]+%")
SETTINGS = "sweep.yaml"
VARIED = ("seed", "output", "pruning.budget", "pruning.budgets", "pruning.method")
"""Keys of the recipe that differ among the trials of a sweep."""


@dataclass(frozen=True)
class Trial:
    """One combination of budget, method and seed.

    >>> Trial("macs=50%", "iterative/taylor", 0).name
    'iterative-taylor-macs-50-s0'
    """

    budget: str
    method: str
    """`gates`, or `one_shot` or `iterative` with a criterion: `iterative/taylor`."""
    seed: int

    @property
    def name(self) -> str:
        """The name of the trial's folder."""
        return re.sub(r"[^\w.]+", "-", f"{self.method}-{self.budget}-s{self.seed}")


def trials(budgets: Sequence[str], methods: Sequence[str], seeds: Sequence[int]) -> list[Trial]:
    """Return all combinations, seed by seed. A bare percentage means MACs.

    Raises:
        BudgetError: a budget is malformed.

    >>> [trial.budget for trial in trials(["50%", "params=5M"], ["gates"], [0])]
    ['macs=50%', 'params=5M']
    """
    full = [f"macs={budget}" if BARE_PERCENT.fullmatch(budget) else budget for budget in budgets]
    for budget in full:
        parse_budget(budget)
    cells = (Trial(budget, method, seed) for seed, budget, method in product(seeds, full, methods))
    return list(dict.fromkeys(cells))


def sweep(recipe: Recipe, cells: Sequence[Trial], out: Path, say: Say = print) -> list[SweepPoint]:
    """Run each trial that has no report yet, and write `pareto.html` and `pareto.csv` to `out`.

    The dense model of a seed is trained once. A trial that fails (also for lack of memory) is reported by
    `say` and left out of the files. The next sweep runs it again. Both files are updated after every trial.

    Args:
        recipe: The recipe of all trials.
        cells: The trials, for example from `trials`.
        out: The folder of all runs.
        say: Called with one line for each trial.

    Returns:
        One point for each trial with a result.

    Raises:
        ArtifactError: no trial has a result, or `out` holds a sweep with other settings.
        RecipeError: the recipe does not prune, or a trial's method does not exist.
    """
    pruning_part(recipe)
    recipes = {cell: _recipe_of(recipe, cell, out) for cell in cells}
    check_place(out)
    make_folder(out)
    _check_settings(recipe, out)
    failed: list[str] = []
    for index, (cell, each) in enumerate(recipes.items()):
        if not has_result(each.folder):
            say(f"[{index + 1}/{len(recipes)}] {cell.method}, {cell.budget}, seed {cell.seed}")
            try:
                _with_dense(recipe, each, cell, out, say)
            except (PruneError, RuntimeError) as error:  # torch's errors of memory are RuntimeErrors
                failed.append(cell.name)
                say(f"failed: {error}")
                continue
        elif not is_clear(each.folder):
            with held(each.folder):
                clear_finished(each.folder)
        _write(recipe, recipes, out)
    points = _points(recipes)
    if not points:
        raise ArtifactError(
            f"no trial of the sweep has a result; the trials that failed: {', '.join(failed)}."
        )
    _write(recipe, recipes, out)
    if failed:
        say(f"left out, because they failed: {', '.join(failed)}")
    return points


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


def _recipe_of(recipe: Recipe, cell: Trial, out: Path) -> Recipe:
    method, _, criterion = cell.method.partition("/")
    data = recipe_as_data(recipe)
    data["pruning"] |= {"budget": cell.budget, "budgets": [], "method": method}
    if criterion:
        data["pruning"]["criterion"] = criterion
    data |= {"seed": cell.seed, "output": str(out / cell.name)}
    made = make_recipe(data, f"sweep, {cell.name}")
    if method == "gates" and criterion:
        raise RecipeError(
            f"method {cell.method!r}: gates take no criterion; wanted gates or iterative/taylor."
        )
    return made


def _with_dense(recipe: Recipe, each: Recipe, cell: Trial, out: Path, say: Say) -> None:
    """Run one trial from the dense model of its seed. The first trial of a seed trains that model."""
    if recipe.dense is not None:
        known = sorted(path.parent for path in out.glob(f"*-s{cell.seed}/dense/model.safetensors"))
        if known and known[0].parent != each.folder:
            data = recipe_as_data(each)
            data["model"] |= {"name": str(known[0]), "config": {}}
            each = make_recipe(data | {"dense": None}, f"sweep, {cell.name}")
    written = each.folder / "recipe.yaml"
    begun = written.is_file() and recipe_as_yaml(load_recipe(written)) == recipe_as_yaml(each)
    run(each, overwrite=not begun, say=say, resume=begun)


def _write(recipe: Recipe, recipes: dict[Trial, Recipe], out: Path) -> None:
    points = _points(recipes)
    if points:
        write_text(out / "pareto.csv", pareto_csv(points))
        write_text(out / "pareto.html", pareto_html(points, f"Sweep of {recipe.name}"))


def _points(recipes: dict[Trial, Recipe]) -> list[SweepPoint]:
    found = ((cell, each.folder / "report.json") for cell, each in recipes.items())
    return [point_of(path, cell.budget, cell.method, cell.seed) for cell, path in found if path.is_file()]


def point_of(path: Path, budget: str, method: str, seed: int) -> SweepPoint:
    """Return the point of a run's report.json: its quality after recovery, and its costs.

    Args:
        path: The report.json of the run.
        budget: The budget of the trial.
        method: The method of the trial.
        seed: The seed of the trial.

    Raises:
        ArtifactError: the report has no dense model or no result.
    """
    data = Report.load(path).data
    stages = data.results
    stage = "recovered" if stages.get("recovered") else "cut"
    last = stages.get(stage, {})
    metric = next((name for name in last if name != "loss"), "loss")
    if data.baseline is None or metric not in last:
        raise ArtifactError(f"{path} has no dense model or no result to compare: run its recipe again.")
    small, dense = data.model.measurement, data.baseline.measurement
    at = data.reference_seconds
    times = [
        (latency, reference)
        for latency in small.latency
        if (reference := dense.latency_at(latency.seconds, latency.threads)) is not None
    ]
    # Prefer the audio length of the MACs, else the longest; then the smallest number of threads.
    times.sort(key=lambda pair: (pair[0].seconds == at, pair[0].seconds, -pair[0].threads))
    timed, reference = times[-1] if times else (None, None)
    speed = speed_up(reference, timed) if reference is not None and timed is not None else None
    return SweepPoint(
        budget=budget,
        method=method,
        seed=seed,
        metric=metric,
        value=last[metric],
        cut=stages.get("cut", {}).get(metric),
        dense=stages.get("dense", {}).get(metric),
        macs=small.macs[at],
        macs_kept=small.macs[at] / dense.macs[at],
        params=small.params,
        params_kept=small.params / dense.params,
        latency_ms=None if timed is None else timed.median_ms,
        latency_kept=None if speed is None else 1 / speed.ratio,
        folder=str(path.parent / "model"),
        seconds=at,
        latency_seconds=None if timed is None else timed.seconds,
        unsteady=speed.reason if speed is not None and speed.unsteady else "",
        low=last.get(f"{metric}_low"),
        high=last.get(f"{metric}_high"),
        outcomes=outcomes_from_data(data.outcomes[stage]) if stage in data.outcomes else None,
    )
