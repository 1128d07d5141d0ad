"""The content of a model folder: weights in the dtype of their source, config, processor and companions."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from torch import nn
from transformers import PreTrainedModel

from prune_ssl.artifacts.companions import companions_of, patterns_of_tokenizer
from prune_ssl.errors import ArtifactError, ModelError
from prune_ssl.models.origin import origin_of, written_dtypes
from prune_ssl.models.rebuilding import obstacle_to_loading, require_plain
from prune_ssl.writing import write_text

WEIGHTS_FILE = "model.safetensors"


class Processor(Protocol):
    """A feature extractor, tokenizer or processor of transformers."""

    def save_pretrained(self, save_directory: str | Path) -> object:
        """Write the processor's files into a folder."""


def require_loadable(model: nn.Module) -> PreTrainedModel:
    """Return the model if its folder can be loaded again by its config.

    Raises:
        ArtifactError: the config does not rebuild the model. The message names the module and the remedy.
    """
    try:
        require_plain(model)
    except ModelError as error:
        raise ArtifactError(f"nothing was written: {error}") from error
    obstacle = obstacle_to_loading(model)
    if obstacle is not None:
        raise ArtifactError(
            f"nothing was written, because the model could not be loaded again: {obstacle.words}"
        )
    if not isinstance(model, PreTrainedModel):
        raise ArtifactError(
            f"nothing was written: {type(model).__name__} has no config that could rebuild it."
        )
    return model


def plain_tensors(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return copies of tensors that share no memory, as safetensors needs them."""
    return {name: value.contiguous().clone() for name, value in state.items()}


def state_to_write(model: nn.Module, dtype: torch.dtype | None) -> Mapping[str, torch.Tensor]:
    """Return a model's weights in the dtype for the file. None: the dtypes of `written_dtypes`."""
    stored, cast = written_dtypes(model), {}
    for name, value in model.state_dict().items():
        wanted = value.dtype if not value.is_floating_point() else dtype or stored[name]
        cast[name] = value if value.dtype == wanted else value.to(wanted)
    return cast


def state_dtype(config: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Write the dtype of most of the weights into config.json. transformers would write the model's own."""
    floats = [value.dtype for value in state.values() if value.is_floating_point()]
    if not floats:
        return
    name = str(max(set(floats), key=floats.count)).removeprefix("torch.")
    fields = json.loads(config.read_text(encoding="utf-8"))
    if fields.get("dtype") != name:
        write_text(config, json.dumps({**fields, "dtype": name}, indent=2, sort_keys=True) + "\n")


def copy_companions(model: nn.Module, folder: Path, processor: Processor | None) -> None:
    """Copy the companions from the folder from which the model was loaded. The processor's files stay.

    Raises:
        ArtifactError: a file of the source cannot be read.
    """
    origin = origin_of(model)
    if origin is not None and origin.place.folder.is_dir():
        without = patterns_of_tokenizer(processor, origin.place)
        companions_of(origin.place).copy_to(folder, without)
