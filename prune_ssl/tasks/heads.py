"""Owns putting a task's head on a model: a fresh head on the same backbone, or a new last layer."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from prune_ssl.errors import ModelError


def with_fresh_head(
    model: PreTrainedModel, auto_class: Any, overrides: dict[str, Any], kind: str
) -> PreTrainedModel:
    """Give `model`'s backbone, not copied, to a new model with a fresh head.

    Args:
        model: any model of transformers with the backbone; its config is changed.
        auto_class: such as `AutoModelForCTC`.
        overrides: fields of the config.
        kind: the words for that head in an error.

    Raises:
        ModelError: the family has no model with such a head.
    """
    model.config.update(overrides)
    try:
        fresh = auto_class.from_config(model.config)
    except ValueError as error:
        raise ModelError(
            f"{type(model).__name__}: transformers cannot put a {kind} head on it "
            f"({str(error).splitlines()[0]}): choose a model of a family that has one, such as wav2vec2"
        ) from error
    setattr(fresh, fresh.base_model_prefix, model.base_model)
    # Submodules of transformers each hold the config: it must stay one object.
    for module in fresh.modules():
        if getattr(module, "config", None) is model.config:
            module.config = fresh.config
    fresh.train(model.training)
    result: PreTrainedModel = fresh.to(device=model.device, dtype=model.dtype)
    return result


def replace_last_layer_(
    model: PreTrainedModel, path: str, outputs: int, overrides: dict[str, Any]
) -> PreTrainedModel:
    """Give the Linear at `path` so many fresh outputs, in place, and return the model.

    Raises:
        ModelError: there is no Linear at `path`.
    """
    model.config.update(overrides)
    old = model.get_submodule(path)
    if not isinstance(old, nn.Linear):
        raise ModelError(
            f"{type(model).__name__}.{path}: a {type(old).__name__} found, a Linear wanted: "
            "give a model of the wav2vec 2.0 family"
        )
    new = nn.Linear(old.in_features, outputs, device=old.weight.device, dtype=old.weight.dtype)
    # The same as transformers' own start for a fresh head.
    nn.init.normal_(new.weight, std=model.config.initializer_range)
    nn.init.zeros_(new.bias)
    model.set_submodule(path, new)
    return model
