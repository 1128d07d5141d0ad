"""Loading: a folder, a hub name or a saved pruned model becomes a module in float32."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from prune_ssl.errors import ModelError
from prune_ssl.models import pruned
from prune_ssl.models.families import FAMILIES, PRUNED_PREFIX
from prune_ssl.models.pruned import is_pruned

ALIGNMENT_BYTES = 64  # of torch's CPU allocator


def _class_named(name: str) -> type[PreTrainedModel] | None:
    found = getattr(pruned, name, None) or vars(transformers).get(name)
    return found if isinstance(found, type) and issubclass(found, PreTrainedModel) else None


def load_config(source: str | Path, settings: Mapping[str, Any] | None = None) -> PreTrainedConfig:
    """Read the config of a speech SSL model.

    Args:
        source: a folder with config.json, or a name on the Hugging Face hub.
        settings: fields that take the place of the config's own.

    Raises:
        ModelError: nothing is there, the config is not of a known family, or a field cannot have that value.
    """
    folder = Path(source)
    if folder.exists() and not (folder / "config.json").is_file():
        raise ModelError(f"{folder} has no config.json, so it is not a saved model. Give a model folder.")
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(str(source), **(settings or {}))
    except StrictDataclassError as error:
        raise ModelError(f"the config of {source} cannot be so: {' '.join(str(error).split())}") from error
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise ModelError(
            f"cannot read a model config from {source}: {str(error).splitlines()[0]} Give an existing "
            "folder, or a hub name such as facebook/wav2vec2-base (that needs a network)."
        ) from error
    family = config.model_type.removeprefix(PRUNED_PREFIX)
    if family not in FAMILIES:
        raise ModelError(
            f"{source} is a {config.model_type!r} model, which is not a supported speech SSL family: wanted "
            f"one of {', '.join(FAMILIES)}."
        )
    return config


def load_model(source: str | Path, settings: Mapping[str, Any] | None = None) -> PreTrainedModel:
    """Load a speech SSL model in float32 with the class that its config names.

    Args:
        source: a folder with config.json and safetensors, or a name on the Hugging Face hub.
        settings: fields that take the place of the config's own.

    Raises:
        ModelError: nothing is there, the config is not of a known family, or the weights do not fit.
    """
    config = load_config(source, settings)
    cls = _class_to_load(config)
    try:
        loaded: Any = cls.from_pretrained(
            str(source), dtype=torch.float32, output_loading_info=True, **(settings or {})
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ModelError(f"cannot load the weights of {source}: {str(error).splitlines()[0]}") from error
    model, info = loaded
    assert isinstance(model, PreTrainedModel)
    _check_complete(source, info, is_pruned(model))
    _align(model)
    return model


def _align(model: PreTrainedModel) -> None:
    """Move weights that lie unaligned in the mapped file into memory of their own.

    CPU kernels sum unaligned data in another order, so that a loaded model would differ from the saved one in
    the last bit.
    """
    for parameter in model.parameters():
        if parameter.device.type == "cpu" and parameter.data_ptr() % ALIGNMENT_BYTES:
            parameter.data = parameter.data.clone()


def _check_complete(source: str | Path, info: dict[str, Any], pruned: bool) -> None:
    """Refuse weights that were made up, or, in a folder of ours, left out.

    Checkpoints of others may carry weights that their class does not use, and lack a mask embedding.
    """
    missing = sorted(key for key in info["missing_keys"] if pruned or not key.endswith("masked_spec_embed"))
    unexpected = sorted(info["unexpected_keys"]) if pruned else []
    if missing or unexpected:
        what = f"missing {missing[:3]}" if missing else f"unexpected {unexpected[:3]}"
        raise ModelError(
            f"the weights of {source} do not fit its config: {len(missing)} missing, {len(unexpected)} "
            f"unexpected ({what}). The folder is damaged or belongs to another model."
        )


def _class_to_load(config: object) -> type[PreTrainedModel]:
    for name in getattr(config, "architectures", None) or []:
        cls = _class_named(name)
        if cls is not None:
            return cls
    return AutoModel  # type: ignore[return-value]
