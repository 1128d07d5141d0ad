"""What a pruning run writes beside Trainer's own files: gates, progress, cuts and their latencies."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from prune_ssl.errors import PruneError
from prune_ssl.gating import Gates
from prune_ssl.profiling import Fit
from prune_ssl.selection import Budget
from prune_ssl.selection.latency import LatencyTable
from prune_ssl.training.cutting import Cut
from prune_ssl.training.finite import require_finite_resumed
from prune_ssl.training.manifest import naming_damage
from prune_ssl.training.record import Progress
from prune_ssl.training.sharding import gathered
from prune_ssl.writing import new_file, write_text

GATES_FILE, PROGRESS_FILE = "gates.safetensors", "pruning.json"
LEARNED_OF_CUT = "distillation/"  # before the names of projections and heads; no parameter has a slash


def save_gates(folder: Path, gates: Gates, progress: Progress) -> None:
    """Write gates and multipliers, where their schedule and random stream stand, and `progress`."""
    state = gates.state_dict()
    extra = state.pop("_extra_state")
    with new_file(folder / GATES_FILE) as new:
        save_file({name: value.contiguous() for name, value in state.items()}, new)
    write_text(folder / PROGRESS_FILE, json.dumps({"gates": extra, **progress}) + "\n")


def load_gates(folder: Path, gates: Gates) -> Progress:
    """Read what `save_gates` wrote and return its progress.

    Raises:
        PruneError: the checkpoint was not written by PruningTrainer.
        ArtifactError: one of the files is damaged.
    """
    for name in (GATES_FILE, PROGRESS_FILE):
        if not (folder / name).is_file():
            raise PruneError(f"{folder} holds no gates: it is no checkpoint of PruningTrainer. Start anew.")
    with naming_damage(folder / GATES_FILE):
        state = load_file(folder / GATES_FILE)
    require_finite_resumed(state, folder / GATES_FILE)
    with naming_damage(folder / PROGRESS_FILE):
        progress: Progress = json.loads((folder / PROGRESS_FILE).read_text())
        extra, _ = progress.pop("gates"), (progress["results"], progress["history"])
    with naming_damage(folder / GATES_FILE):
        gates.load_state_dict(state | {"_extra_state": extra})
    return progress


def _copied(module: nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    return {prefix + name: value.detach().clone().cpu() for name, value in gathered(module)}


def _write(path: Path, state: dict[str, torch.Tensor], said: Progress | None = None) -> None:
    """Write a file that appears whole or not at all."""
    with new_file(path) as new:
        save_file(state, new, metadata=None if said is None else {PROGRESS_FILE: json.dumps(said)})


def save_fit(path: Path, fit: Fit) -> None:
    """Write the latency that was measured at a cut, with the corrected tables."""
    tables = [None if each.table is None else each.table.to_json() for each in fit.budget]
    write_text(path, json.dumps({"share": fit.share, "tables": tables}) + "\n")


def load_fit(path: Path, budget: Budget) -> Fit:
    """Return the budget with the tables that `save_fit` wrote.

    Raises:
        ArtifactError: the file is damaged.
    """
    with naming_damage(path):
        said = json.loads(path.read_text())
        tables = [None if text is None else LatencyTable.from_json(text) for text in said["tables"]]
        both = zip(budget, tables, strict=True)
        return Fit(tuple(replace(each, table=table) for each, table in both), float(said["share"]))


def save_cut(path: Path, made: Cut, learned: nn.Module | None, progress: Progress) -> None:
    """Write a cut: its model, what is learned beside it, and `progress`."""
    beside = {} if learned is None else _copied(learned, LEARNED_OF_CUT)
    _write(path, _copied(made.model) | beside, {"keep": made.keep, **progress})


def load_cut(
    path: Path, learned: nn.Module | None
) -> tuple[dict[str, tuple[int, ...]], dict[str, torch.Tensor], Progress]:
    """Return the keep, the weights and the progress of a cut; load into `learned` what was learned beside it.

    Raises:
        ArtifactError: the file is damaged.
    """
    with naming_damage(path):
        with safe_open(path, "pt") as file:
            said = json.loads(file.metadata()[PROGRESS_FILE])
        weights = load_file(path)
        require_finite_resumed(weights, path)
        names = [name for name in weights if name.startswith(LEARNED_OF_CUT)]
        beside = {name.removeprefix(LEARNED_OF_CUT): weights.pop(name) for name in names}
        if learned is not None:
            learned.load_state_dict(beside)
        return {name: tuple(units) for name, units in said.pop("keep").items()}, weights, said
