"""Loading: makes a module in float32 from a folder, a hub name or a saved pruned model."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from prune_ssl.errors import ModelError
from prune_ssl.models.alignment import align_
from prune_ssl.models.architectures import Head, choose_class, classes_of
from prune_ssl.models.config_checks import SEALS_FIELD, check_config
from prune_ssl.models.origin import make_origin, set_origin
from prune_ssl.models.places import Place, locate
from prune_ssl.models.pruned import is_pruned
from prune_ssl.models.registry import FAMILIES, PRUNED_PREFIX
from prune_ssl.models.skeleton import backbone_prefix
from prune_ssl.models.transformers_internals import keep_names
from prune_ssl.models.weights import Stored, read_headers

MOST_CONFIG_BYTES = 50_000_000


def load_config(source: str | Path, settings: Mapping[str, object] | None = None) -> PreTrainedConfig:
    """Read the config of a speech SSL model.

    Args:
        source: a folder with config.json, or a name on the Hugging Face hub.
        settings: fields that replace those of the config.

    Raises:
        ModelError: there is no model, its family is not known, or a field cannot have its value.
    """
    return _config_in(_place_of(source), settings or {})


def _place_of(source: str | Path) -> Place:
    try:
        return locate(source)
    except ModelError as error:
        raise ModelError(f"cannot read a model config from {error}") from error


def _config_in(place: Place, settings: Mapping[str, object]) -> PreTrainedConfig:
    file = place.folder / "config.json"
    fields = _read(file, place)
    check_config({**fields, **settings}, str(file))
    family = str(fields.get("model_type", "")).removeprefix(PRUNED_PREFIX)
    if family not in FAMILIES or not FAMILIES[family].classes:
        raise ModelError(
            f"{place.name} is a {fields.get('model_type')!r} model, which is not a supported speech SSL "
            f"family: wanted one of {', '.join(name for name, each in FAMILIES.items() if each.classes)}."
        )
    if fields.get("quantization_config"):
        raise ModelError(
            f"{place.name} is quantised (quantization_config in its config.json), and cannot be pruned. Give "
            "the model that it was made from."
        )
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            str(place.folder), trust_remote_code=False, **settings
        )
    except Exception as error:  # transformers may raise any kind for a field that it did not expect
        words = " ".join(str(error).split())[:300]
        kind = "" if isinstance(error, StrictDataclassError) else f"{type(error).__name__}: "
        raise ModelError(f"the config of {place.name} cannot be so: {kind}{words}") from error
    config.name_or_path = place.name
    return config


def _instead(folder: Path) -> str:
    """Return what a folder without config.json holds, and what to give in its place."""
    if (folder / "adapter_config.json").is_file():
        return (
            " (adapter_config.json is of a PEFT adapter: load it on its model, call merge_and_unload() and "
            "save that)."
        )
    if (folder / "export.json").is_file():
        return (
            ": it is an export (export.json), which its own runtime runs (docs/deploying.md). Give the "
            "folder that it was made from."
        )
    return ". Give a model folder."


def _read(file: Path, place: Place) -> dict[str, object]:
    """Read config.json as plain data."""
    if not file.is_file():
        raise ModelError(
            f"{place.folder} has no config.json, so it is not a saved model{_instead(place.folder)}"
        )
    if (place.folder / "adapter_config.json").is_file():
        raise ModelError(
            f"{place.folder} holds a PEFT adapter (adapter_config.json) beside the model; pruning would "
            "change the model and miss the adapter. Call merge_and_unload() and save that model to a folder "
            "of its own."
        )
    try:
        if file.stat().st_size > MOST_CONFIG_BYTES:
            raise ModelError(
                f"{file} has {file.stat().st_size:,} bytes, too many for a config. Fetch it again."
            )
        fields = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        words = str(error).splitlines()[0][:200]
        raise ModelError(f"cannot read a model config from {file}: {words}. Fetch it again.") from error
    if not isinstance(fields, dict):
        raise ModelError(
            f"{file}: found a {type(fields).__name__}, wanted a mapping of fields. Fetch it again."
        )
    return fields


def load_model(
    source: str | Path,
    settings: Mapping[str, object] | None = None,
    *,
    head: Head = "keep",
    allow_pickle: bool = False,
) -> PreTrainedModel:
    """Load a speech SSL model in float32 with the class that its config names.

    The model remembers its folder and dtypes, so that `save_pretrained` writes them back: see `origin_of`.

    Args:
        source: a folder with config.json and safetensors, or a name on the Hugging Face hub.
        settings: fields that replace those of the config.
        head: `drop` leaves out the head that the checkpoint has.
        allow_pickle: read pytorch_model.bin if there are no safetensors. Only tensors are taken from it.

    Raises:
        ModelError: there is no model, its family is not known, its weights do not fit its config, or they
            hold a head that the class in the config would lose. Names and shapes are compared before any
            weight is allocated.
    """
    if head not in get_args(Head):
        raise ModelError(f"head: found {head!r}, wanted one of {', '.join(get_args(Head))}.")
    place = _place_of(source)
    config = _config_in(place, settings or {})
    stored = _from_backbone_on(read_headers(place.folder, allow_pickle), config)
    choice = choose_class(place.name, config, stored, head)
    more: dict[str, Any] = dict(settings or {})
    try:
        loaded: Any = choice.cls.from_pretrained(
            str(place.folder),
            dtype=torch.float32,
            output_loading_info=True,
            use_safetensors=not stored.pickled,
            weights_only=True,
            key_mapping=_key_mapping(choice.cls, config),
            **more,
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        words = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(f"cannot load the weights of {place.name}: {words}") from error
    model: PreTrainedModel = loaded[0]
    info: Mapping[str, Iterable[str]] = loaded[1]
    _check_complete(place.name, info, is_pruned(model) and head == "keep")
    align_(model)
    keep_names(model)
    _forget_seals(model)
    model.name_or_path = model.config.name_or_path = place.name
    prefix = backbone_prefix(choice.cls)
    set_origin(model, make_origin(place, stored.shapes, stored.dtypes, prefix, choice.head))
    return model


def _from_backbone_on(stored: Stored, config: PreTrainedConfig) -> Stored:
    """Return what is stored by the names of a model with a head, where a larger model holds the backbone.

    A whole Whisper names its encoder's tensors `model.encoder.`, one with a head `encoder.`.
    """
    outer, inside = _outer_names(config)
    if not inside:
        return stored

    def named(name: str) -> str:
        return name.removeprefix(outer) if name.startswith(outer + inside) else name

    return replace(
        stored,
        shapes={named(name): shape for name, shape in stored.shapes.items()},
        dtypes={named(name): dtype for name, dtype in stored.dtypes.items()},
    )


def _key_mapping(cls: type[PreTrainedModel], config: PreTrainedConfig) -> dict[str, str] | None:
    """Return how the names of stored tensors become those of a class, None where transformers knows."""
    outer, inside = _outer_names(config)
    if not inside:
        return None
    bare = next(iter(classes_of(config).values()))
    return {rf"^({re.escape(outer)})?{re.escape(inside)}": "" if cls is bare else inside}


def _outer_names(config: PreTrainedConfig) -> tuple[str, str]:
    """Return the prefixes of a backbone within a larger model and within one with a head."""
    inside = FAMILIES[config.model_type.removeprefix(PRUNED_PREFIX)].inside
    bare = next(iter(classes_of(config).values()))
    return f"{bare.base_model_prefix}.", f"{inside}." if inside else ""


def _forget_seals(model: PreTrainedModel) -> None:
    """Leave the seals of the loaded files out of the config, which is written again with other files."""
    for module in model.modules():
        config = getattr(module, "config", None)
        if hasattr(config, SEALS_FIELD):
            delattr(config, SEALS_FIELD)


def _check_complete(source: str | Path, info: Mapping[str, Iterable[str]], pruned: bool) -> None:
    """Refuse weights that transformers made up, or that it left out of a folder of prune_ssl.

    Other checkpoints may hold weights that their class does not use, and may lack a mask embedding.
    """
    missing = sorted(key for key in info["missing_keys"] if pruned or not key.endswith("masked_spec_embed"))
    unexpected = sorted(info["unexpected_keys"]) if pruned else []
    if missing or unexpected:
        what = f"missing {missing[:3]}" if missing else f"unexpected {unexpected[:3]}"
        raise ModelError(
            f"the weights of {source} do not fit its config: {len(missing)} missing, {len(unexpected)} "
            f"unexpected ({what}). The folder is damaged or belongs to another model."
        )
