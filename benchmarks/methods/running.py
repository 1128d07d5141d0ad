"""Run one cell: train it, judge its model clip by clip, and leave its row in its folder."""

import json
import subprocess
import time
import warnings
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from methods.judging import judge
from methods.paired import metric_of
from methods.recipes import MODEL_FILE, Rows, Setup, recipe_of, recipe_of_second, seconds_of
from methods.results import Judged, Row, read_judged, read_row
from methods.studies import DENSE, GATES_UNITS, METHODS, TORCH_PRUNING, Cell
from methods.torch_pruning_cut import cut_by_torch_pruning
from prune_ssl import load_pretrained, resize, trace
from prune_ssl.artifacts import load_plan
from prune_ssl.cli.console import say
from prune_ssl.errors import PruneWarning
from prune_ssl.pipeline import run, trainer_for
from prune_ssl.recipes import Recipe
from prune_ssl.writing import write_text

PACKAGES = ("torch", "transformers", "torch-pruning")


@dataclass(frozen=True)
class Made:
    """The model of a cell."""

    model: Any
    """It is of a class of transformers, or of one made from it."""
    source: Path
    """A folder with its feature extractor."""
    results: dict[str, dict[str, float]]
    history: list[dict[str, Any]]
    trained: bool = True


def run_cell(cell: Cell, setup: Setup, rows: Rows) -> None:
    """Run a cell and write its row. A cell that was stopped begins anew, all but its dense model."""
    start, busy = time.perf_counter(), time.process_time()
    recipe = recipe_of(cell, setup, rows)
    if cell.method == DENSE:
        made = _dense(cell, setup, recipe)
    elif cell.method == TORCH_PRUNING:
        model = load_pretrained(setup.dense_model(cell))
        cut = cut_by_torch_pruning(model, cell.percent / 100, seconds_of(cell.study))
        made = _trained(cut, cell, setup, recipe)
    elif cell.method == GATES_UNITS:
        made = _trained(_cut_as_gates(cell, setup), cell, setup, recipe)
    else:
        made = _pruned(cell, setup, recipe)
    found = judge(cell.study, recipe, made.model, made.source, setup.split)
    seconds = seconds_of(cell.study)
    whole, left = (
        trace(model).cost(seconds=seconds) for model in (load_pretrained(setup.dense_model(cell)), made.model)
    )
    row = Row(
        study=cell.study.name,
        method=cell.method,
        percent=cell.percent,
        seed=cell.seed,
        value=0.0,
        outcomes=found.outcomes,
        macs=left.macs,
        macs_kept=left.macs / whole.macs,
        params=left.params,
        params_kept=left.params / whole.params,
        core_seconds=round(time.process_time() - busy, 1) if made.trained else None,
        wall_seconds=round(time.perf_counter() - start, 1) if made.trained else None,
        cut=made.results.get("cut", {}).get(cell.study.metric),
        gates=_gates(made.history),
        versions=versions(),
    )
    data = asdict(row) | {"value": metric_of(found.judged, row)}
    _compare(cell, made, data["value"])
    text = json.dumps({"overrides": setup.overrides, "judged": asdict(found.judged), "row": data})
    setup.folder(cell).mkdir(parents=True, exist_ok=True)
    write_text(_row_file(cell, setup), text)


def found_row(cell: Cell, setup: Setup) -> tuple[Judged, Row] | None:
    """Return the row that a finished cell left, or None.

    Raises:
        ValueError: the cell was run with other overrides.
    """
    path = _row_file(cell, setup)
    if not path.is_file():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    if tuple(data["overrides"]) != setup.overrides:
        raise ValueError(f"{path.parent} was run with --set {data['overrides']}: give another --out.")
    return read_judged(data["judged"]), read_row(data["row"])


def _row_file(cell: Cell, setup: Setup) -> Path:
    """Return the file that a cell leaves behind when it is finished."""
    return setup.folder(cell) / f"{setup.split}.json"


def _dense(cell: Cell, setup: Setup, recipe: Recipe) -> Made:
    trained = not setup.has_dense(cell)
    if trained and setup.dense:
        raise ValueError(f"--dense: {setup.dense_model(cell)} has no {MODEL_FILE}.")
    if trained:
        run(recipe, overwrite=True, say=say)
    folder = setup.dense_model(cell)
    return Made(load_pretrained(folder), folder, {}, [], trained)


def _pruned(cell: Cell, setup: Setup, recipe: Recipe) -> Made:
    outcome = run(recipe, overwrite=True, say=say)
    report = json.loads((outcome.folder / "report.json").read_text(encoding="utf-8"))
    results, history = report["results"], report["history"]
    if len(METHODS[cell.method].shares) > 2:
        outcome = run(recipe_of_second(cell, setup), overwrite=True, say=say)
        results = {"cut": results["cut"], "recovered": outcome.report.data.results["recovered"]}
    folder = outcome.model_folder
    return Made(load_pretrained(folder), folder, results, history)


def _cut_as_gates(cell: Cell, setup: Setup) -> nn.Module:
    """Return the dense model, cut to the units that gates kept."""
    folder = setup.gates_model(cell)
    if not folder.is_dir():
        raise ValueError(f"{folder}: the model that gates made is gone; --forget its cell, and run it again.")
    model = load_pretrained(setup.dense_model(cell))
    return resize(model, trace(model), load_plan(folder).keep, inplace=True)


def _trained(cut: nn.Module, cell: Cell, setup: Setup, recipe: Recipe) -> Made:
    """Train a model that was cut elsewhere."""
    trainer = trainer_for(recipe, cut, say)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PruneWarning)
        trainer.train()
        small: Any = trainer.finalize()
    results = {
        stage: {name.removeprefix(f"{stage}_"): value for name, value in found.items()}
        for stage, found in trainer.results.items()
    }
    return Made(small, setup.dense_model(cell), results, [])


def _gates(history: list[dict[str, Any]]) -> dict[str, float]:
    """Return where gate training ended, and how far the expected cost was from its target at most."""
    steps = [entry for entry in history if entry.get("expected") is not None]
    if not steps:
        return {}
    last = {name: steps[-1].get(name) for name in ("expected", "target", "open")}
    lags = [abs(entry["expected"] - entry["target"]) for entry in steps if entry.get("target") is not None]
    return {name: value for name, value in last.items() if value is not None} | {"lag": max(lags)}


def versions() -> dict[str, str]:
    """Return the commit and the versions of the libraries."""
    asked = ("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty")
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    return {"commit": found.stdout.strip(), **{name: version(name) for name in PACKAGES}}


def _compare(cell: Cell, made: Made, value: float) -> None:
    """Say so where the run itself judged its model differently."""
    known = made.results.get("recovered", {}).get(cell.study.metric, value)
    if abs(known - value) > 0.005:
        say(f"  note: judged here as {value:.4f}, by its run as {known:.4f}")
