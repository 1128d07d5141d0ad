"""What a pruning run writes beside Trainer's own files: gates, progress, and the moments of milestones."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from prune_ssl.errors import PruneError
from prune_ssl.gating import Gates
from prune_ssl.training.resumable import PARTIAL

GATES_FILE, PROGRESS_FILE = "gates.safetensors", "pruning.json"


def save_gates(folder: Path, gates: Gates, progress: dict[str, Any]) -> None:
    """Write gates and multipliers, where their schedule and random stream stand, and `progress`."""
    state = gates.state_dict()
    extra = state.pop("_extra_state")
    save_file({name: value.contiguous() for name, value in state.items()}, folder / GATES_FILE)
    (folder / PROGRESS_FILE).write_text(json.dumps({"gates": extra, **progress}) + "\n")


def load_gates(folder: Path, gates: Gates) -> dict[str, Any]:
    """Read what `save_gates` wrote and return its progress.

    Raises:
        PruneError: the checkpoint was not written by PruningTrainer.
    """
    try:
        state: dict[str, Any] = dict(load_file(folder / GATES_FILE))
        progress: dict[str, Any] = json.loads((folder / PROGRESS_FILE).read_text())
    except OSError as error:
        raise PruneError(
            f"{folder} holds no gates: it is no checkpoint of PruningTrainer. Start anew."
        ) from error
    gates.load_state_dict(state | {"_extra_state": progress.pop("gates")})
    return progress


def save_moment(path: Path, model: nn.Module, gates: Gates) -> None:
    """Put weights and gates aside."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().clone().cpu() for name, value in model.state_dict().items()}
    scratch = path.with_name(f"{PARTIAL}{path.name}")
    save_file(state | {GATES_FILE: gates.log_alpha.detach().cpu()}, scratch)
    scratch.replace(path)


def load_moment(path: Path, model: nn.Module, gates: Gates) -> None:
    """Put weights and gates back as `save_moment` found them."""
    state = load_file(path)
    with torch.no_grad():
        gates.log_alpha.copy_(state.pop(GATES_FILE))
    model.load_state_dict(state)
