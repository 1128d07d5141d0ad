"""save_pretrained and load_pretrained: a Hugging Face folder with the plan and the processor."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel

from prune_ssl.errors import ArtifactError, ModelError
from prune_ssl.gating import Plan
from prune_ssl.models import load_model

PLAN_FILE = "pruning_plan.json"
PLAN_VERSION = 1


def prepare_folder(folder: str | Path, overwrite: bool = False) -> Path:
    """Return `folder` as a path that may be written.

    Raises:
        ArtifactError: it exists, is not an empty folder, and `overwrite` is not set.
    """
    path = Path(folder)
    taken = path.is_file() or (path.is_dir() and any(path.iterdir()))
    if taken and not overwrite:
        raise ArtifactError(
            f"{path} exists already; nothing was written. Give another folder, or --overwrite."
        )
    if path.is_file():
        raise ArtifactError(f"{path} is a file, wanted a folder.")
    return path


def save_pretrained(
    model: nn.Module,
    folder: str | Path,
    *,
    overwrite: bool = False,
    processor: Any = None,
    plan: Plan | None = None,
    dtype: torch.dtype | None = None,
) -> Path:
    """Write `model` to `folder`: config.json, model.safetensors, and when given the processor and the plan.

    The folder is written beside its place and moved there, so that no half-written one is ever seen.
    It loads with `load_pretrained`, and with `AutoModel*.from_pretrained` once prune_ssl is imported.

    Args:
        model: a model of transformers, dense or resized.
        folder: where to write; created with its parents.
        overwrite: replace what is there.
        processor: feature extractor or processor of transformers to save with it.
        plan: what was kept, saved as pruning_plan.json, so that it can be applied to the dense checkpoint
            again.
        dtype: dtype of the saved weights (None: as they are).

    Raises:
        ArtifactError: the folder exists, or the model is not one that can be saved.
    """
    if not isinstance(model, PreTrainedModel):
        raise ArtifactError(f"{type(model).__name__} cannot be saved: wanted a model of transformers.")
    path = prepare_folder(folder, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        new = Path(scratch) / path.name
        state = None
        if dtype is not None:
            state = {name: value.to(dtype) for name, value in model.state_dict().items()}
        model.save_pretrained(new, state_dict=state)
        if processor is not None:
            processor.save_pretrained(new)
        if plan is not None:
            (new / PLAN_FILE).write_text(json.dumps(plan_as_json(plan), indent=1) + "\n")
        if path.exists():
            shutil.rmtree(path)
        new.rename(path)
    return path


def plan_as_json(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain data."""
    return {
        "prune_format_version": PLAN_VERSION,
        "keep": {name: list(units) for name, units in plan.keep.items()},
        "scales": {name: list(values) for name, values in plan.scales.items()},
    }


def load_plan(folder: str | Path) -> Plan:
    """Read pruning_plan.json of a model folder.

    Raises:
        ArtifactError: it is missing or malformed.
    """
    path = Path(folder) / PLAN_FILE
    try:
        data = json.loads(path.read_text())
        keep = {str(name): tuple(int(unit) for unit in units) for name, units in data["keep"].items()}
        scales = {
            str(name): tuple(float(v) for v in values) for name, values in data.get("scales", {}).items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"cannot read a pruning plan from {path}: {error}") from error
    return Plan(keep, scales)


def load_pretrained(folder: str | Path) -> PreTrainedModel:
    """Load a folder that `save_pretrained` wrote, strictly and in float32.

    Raises:
        ArtifactError: the folder is missing, is not a model, or its weights do not fit its config exactly.
    """
    path = Path(folder)
    if not path.is_dir():
        raise ArtifactError(f"{path} is not a folder; wanted one that save_pretrained wrote.")
    try:
        model = load_model(path)
    except (ModelError, SafetensorError) as error:
        raise ArtifactError(f"cannot load {path}: {error}") from error
    model.eval()
    return model
