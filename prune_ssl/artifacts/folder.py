"""Save a model as a Hugging Face folder with its plan and processor, and load such a folder.

The folder is written atomically (`prune_ssl.writing`), so that nobody ever sees a half-written one.
`load_pretrained` loads it, and so does `AutoModel*.from_pretrained` after prune_ssl is imported. The folder
of a pruned model also holds modeling_pruned.py, with which transformers alone loads the model
(`trust_remote_code=True`).

A model that is not of transformers (for example torchaudio's) has no config that could rebuild it. Its folder
holds the weights and the plan, and `load_pretrained(folder, factory)` cuts the dense model that the factory
makes. The same holds for a model of transformers with a module that no config describes.

A model that `load_model` read, or that was made from such a model, gets copies of all files of its source
folder except weights, config and training state. The processor's own files win over copies.
"""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model as load_weights
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from prune_ssl.artifacts import remote_code
from prune_ssl.artifacts.contents import (
    WEIGHTS_FILE,
    Processor,
    copy_companions,
    plain_tensors,
    require_loadable,
    state_dtype,
    state_to_write,
)
from prune_ssl.errors import ArtifactError, KeepError, ModelError, PruneError, PruneWarning
from prune_ssl.gating import Plan
from prune_ssl.models import is_pruned, load_model
from prune_ssl.models.arguments import as_model
from prune_ssl.models.finite import require_finite
from prune_ssl.models.origin import origin_of
from prune_ssl.models.pruned import PrunedLayers
from prune_ssl.models.rebuilding import obstacle_to_loading
from prune_ssl.models.seals import require_unbroken, seal_folder
from prune_ssl.resizing import resize
from prune_ssl.tracing import Example, trace
from prune_ssl.tracing.example import Inputs
from prune_ssl.tracing.graph import units_of
from prune_ssl.version import VERSION
from prune_ssl.writing import (
    as_artifact_error,
    check_place,
    check_room,
    is_taken,
    new_folder,
    put_back,
    write_text,
)

PLAN_FILE, CONFIG_FILE = "pruning_plan.json", "config.json"
PLAN_VERSION = 1

Keep = Mapping[str, Sequence[int]]


def prepare_folder(folder: str | Path, overwrite: bool = False, as_whole: bool = True) -> Path:
    """Return `folder` as a path, after checking that it may be written.

    Args:
        folder: The folder.
        overwrite: Whether it may exist with some content.
        as_whole: Whether it will be replaced as a whole, not written into.

    Raises:
        ArtifactError: the folder is not empty and `overwrite` is not set, or it cannot be written.

    >>> prepare_folder("out")
    PosixPath('out')
    """
    path = Path(folder)
    check_place(path, as_whole)
    with as_artifact_error(path):
        if is_taken(path) and not overwrite:
            raise ArtifactError(
                f"{path} exists already, so nothing was written. Give another folder, or --overwrite "
                "(in Python: overwrite=True)."
            )
        if path.is_file():
            raise ArtifactError(f"{path} is a file, wanted a folder.")
    return path


def save_pretrained(
    model: nn.Module | str | Path,
    folder: str | Path,
    *,
    overwrite: bool = False,
    processor: Processor | None = None,
    plan: Plan | Keep | None = None,
    dtype: torch.dtype | None = None,
    companions: bool = True,
    max_shard_size: int | str = "50GB",
) -> Path:
    """Write `model` to `folder` (config.json and model.safetensors), with its processor and plan if given.

    Args:
        model: A dense or resized model of transformers, its folder or hub name, or any other model that
            `resize` returned.
        folder: The folder to write. It is created with its parents.
        overwrite: Whether to replace an existing folder.
        processor: The feature extractor or processor of transformers to save with the model.
        plan: The plan, or a bare keep. It is saved as pruning_plan.json, so that it can be applied to the
            dense checkpoint again. A model that is not of transformers needs it.
        dtype: The dtype of the saved weights. None: the dtype of the checkpoint that `load_model` read
            (though the model computes in float32), or the model's own.
        companions: Whether to copy the other files of the source folder, such as its tokenizer.
        max_shard_size: The size above which the weights are written in several files, in bytes or as "2GB".

    Returns:
        The path of the folder.

    Raises:
        ArtifactError: the folder exists or cannot be written; the model could not be loaded again (it is
            built from its config on the meta device and compared); or a number is not finite in that dtype.

    >>> from transformers import HubertConfig, HubertModel
    >>> config = HubertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    >>> path = save_pretrained(HubertModel(config), "small")
    >>> type(load_pretrained(path)).__name__
    'HubertModel'
    """
    model = as_model(model, "save_pretrained")
    if not isinstance(model, PreTrainedModel) and plan is None:
        raise ArtifactError(
            f"{type(model).__name__} is not a model of transformers, so no config can rebuild it. Give "
            "plan= with the plan of `resize` ({} for a dense model); load_pretrained then needs a factory."
        )
    by_config = None if plan is not None and _wants_factory(model) else require_loadable(model)
    state = _finite_state(model, dtype, folder)
    path = prepare_folder(folder, overwrite)
    needed = 2 * sum(value.nbytes for value in state.values())  # a file is copied when it is sealed
    check_room(path, needed, "the weights")
    with new_folder(path, replace=overwrite) as new:
        if by_config is None:
            save_file(plain_tensors(state), str(new / WEIGHTS_FILE), metadata={"format": "pt"})
        else:
            by_config.save_pretrained(new, state_dict=dict(state), max_shard_size=max_shard_size)
            _complete(by_config, new, state)
        seal_folder(new)
        if processor is not None:
            processor.save_pretrained(new)
        if companions:
            copy_companions(model, new, processor)
        if plan is not None:
            whole = plan if isinstance(plan, Plan) else Plan({name: tuple(plan[name]) for name in plan})
            write_text(new / PLAN_FILE, json.dumps(plan_as_json(whole), indent=1) + "\n")
    return path


def _finite_state(
    model: nn.Module, dtype: torch.dtype | None, folder: str | Path
) -> Mapping[str, torch.Tensor]:
    """Return the weights for the file.

    Raises:
        ArtifactError: a weight is not finite.
    """
    state = state_to_write(model, dtype)
    try:
        require_finite(
            state, type(model).__name__, f"It was not saved to {folder}: train it or load it again."
        )
    except ModelError as error:
        raise ArtifactError(str(error)) from error
    return state


def _complete(model: PreTrainedModel, folder: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write the dtype of the weights into config.json, and add the code with which transformers loads it."""
    state_dtype(folder / CONFIG_FILE, state)
    if isinstance(model, PrunedLayers):
        _add_code(model, folder)


def _wants_factory(model: nn.Module) -> bool:
    """Return whether no config can rebuild the model, so that loading it needs a factory."""
    obstacle = obstacle_to_loading(model)
    if obstacle is not None and obstacle.factory:
        warnings.warn(
            f"{type(model).__name__} is written without a config.json, because no config can rebuild it: "
            "load it by load_pretrained(folder, factory), where factory makes the dense model.",
            PruneWarning,
            stacklevel=3,
        )
    return not isinstance(model, PreTrainedModel) or (obstacle is not None and obstacle.factory)


def _add_code(model: PreTrainedModel, folder: Path) -> None:
    """Add the file with which transformers alone loads a pruned model, and name it in config.json."""
    write_text(folder / remote_code.FILE, remote_code.modelling_file(model, VERSION))
    config = json.loads((folder / CONFIG_FILE).read_text())
    config["auto_map"] = remote_code.auto_map(model)
    write_text(folder / CONFIG_FILE, json.dumps(config, indent=2, sort_keys=True) + "\n")


def plan_as_json(plan: Plan) -> dict[str, object]:
    """Return a plan as plain data for JSON.

    >>> plan_as_json(Plan({"layer.0.ffn": (0, 2)}))["keep"]
    {'layer.0.ffn': [0, 2]}
    """
    return {
        "prune_format_version": PLAN_VERSION,
        "keep": {name: list(units_of(name, units)) for name, units in plan.keep.items()},
        "scales": {name: [float(value) for value in values] for name, values in plan.scales.items()},
        "family": plan.family,
        "sizes": dict(plan.sizes),
    }


def earlier_plan(model: nn.Module) -> Plan | None:
    """Return the plan in the folder from which a pruned model was loaded, or None if there is none.

    Raises:
        ArtifactError: the plan cannot be read.
    """
    origin = origin_of(model)
    if origin is None or not is_pruned(model) or not (origin.place.folder / PLAN_FILE).is_file():
        return None
    return load_plan(origin.place.folder)


def plan_from_dense(model: nn.Module, plan: Plan) -> Plan:
    """Return the plan that cuts the original dense checkpoint to the same model as `plan` cuts `model`.

    The folder of a model that was pruned before holds the plan of that cut. The two plans are composed.

    Args:
        model: The model that `plan` cuts, as `load_model` returned it, or a copy of it.
        plan: The plan for that model.

    Raises:
        ArtifactError: the plan in the model's folder cannot be read.
    """
    earlier = earlier_plan(model)
    return plan if earlier is None else earlier.then(plan)


def load_plan(place: str | Path) -> Plan:
    """Read a pruning plan.

    Args:
        place: A model folder with pruning_plan.json, or such a file.

    Raises:
        ArtifactError: the plan is missing or malformed.

    >>> text = '{"prune_format_version": 1, "keep": {"layer.0.ffn": [0, 2]}}'
    >>> _ = Path("pruning_plan.json").write_text(text)
    >>> load_plan(".").keep
    {'layer.0.ffn': (0, 2)}
    """
    path = Path(place)
    path = path if path.is_file() else path / PLAN_FILE
    try:
        return _plan_of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, KeepError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ArtifactError(f"cannot read a pruning plan from {path}: {reason}") from error


def _plan_of(data: object) -> Plan:
    """Return the plan in data of `plan_as_json`, after all checks that need no graph."""
    data = data if isinstance(data, dict) else {}
    version = data.get("prune_format_version")
    if type(version) is not int or version != PLAN_VERSION:
        raise ValueError(
            f"prune_format_version: found {version!r}, wanted {PLAN_VERSION}. A newer prune_ssl may have "
            "written it."
        )
    keep, scales = data.get("keep"), data.get("scales", {})
    if not isinstance(keep, dict) or not isinstance(scales, dict):
        raise ValueError("wanted 'keep' and 'scales', which map names of groups to lists.")
    kept = {name: units_of(name, units) for name, units in keep.items()}
    for name, units in kept.items():
        if len(set(units)) < len(units) or any(unit < 0 for unit in units):
            raise ValueError(f"keep of {name}: wanted distinct numbers of units from 0.")
    for name, values in scales.items():
        numbers = isinstance(values, list) and all(type(value) in (int, float) for value in values)
        fits = numbers and (name not in kept or len(values) == len(kept[name]))
        if not fits or not all(isfinite(value) for value in values):
            raise ValueError(f"scales of {name}: wanted one finite number for each kept unit.")
    family, sizes = data.get("family", ""), data.get("sizes", {})
    if not isinstance(family, str) or not isinstance(sizes, dict):
        raise ValueError("wanted the family as text, and 'sizes', which maps names of groups to numbers.")
    for name, size in sizes.items():
        if type(size) is not int or size < 1:
            raise ValueError(f"sizes: {name}: found {size!r:.40}, wanted a number of units.")
    return Plan(kept, {name: tuple(map(float, values)) for name, values in scales.items()}, family, sizes)


def load_pretrained(
    folder: str | Path,
    factory: Callable[[], nn.Module] | None = None,
    *,
    example: Inputs | Example | None = None,
) -> nn.Module:
    """Load a folder that `save_pretrained` wrote, strictly, in float32 and in evaluation mode.

    Args:
        folder: The folder.
        factory: Only for a model that no config can rebuild: a function that makes the dense model, with any
            weights. The model is traced, cut to the folder's plan, and filled with the folder's weights.
        example: The example with which the dense model was traced, if it was.

    Raises:
        ArtifactError: the folder is missing or holds no model, or its weights do not fit its config (or the
            factory's model) exactly.

    >>> layer = nn.Linear(2, 3)
    >>> path = save_pretrained(layer, "linear", plan={})
    >>> load_pretrained(path, factory=lambda: nn.Linear(2, 3)).weight.equal(layer.weight)
    True
    """
    path = Path(folder)
    put_back(path)
    if not path.is_dir():
        raise ArtifactError(f"{path} is not a folder: give a folder that save_pretrained wrote.")
    needs_factory = (path / PLAN_FILE).is_file() and not (path / "config.json").is_file()
    if needs_factory != (factory is not None):
        raise ArtifactError(
            f"{path} has no config: give load_pretrained the function that makes its dense model."
            if needs_factory
            else f"{path} is loaded by its config, without a factory: leave the factory out."
        )
    try:
        model = load_model(path) if factory is None else _refill(factory(), path, example)
    except (PruneError, SafetensorError) as error:
        raise ArtifactError(f"cannot load {path}: {error}") from error
    model.eval()
    return model


def _refill(model: nn.Module, path: Path, example: Inputs | Example | None) -> nn.Module:
    """Return a dense model cut to the folder's plan, with the folder's weights."""
    keep = load_plan(path).keep
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="a folder of this model could not be loaded again")
        small = (resize(model, trace(model, example=example), keep) if keep else model).float()
    try:
        load_weights(small, str(path / WEIGHTS_FILE), strict=True)
        require_unbroken(path, [path / WEIGHTS_FILE])
    except (OSError, RuntimeError) as error:
        raise ArtifactError(
            f"{WEIGHTS_FILE} does not fit the factory's model after the cut of the plan: "
            f"{str(error).splitlines()[0]}"
        ) from error
    return small
