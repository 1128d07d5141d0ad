"""Owns putting a task's head on a model: a fresh head on the same backbone, or a new last layer."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from prune_ssl.errors import ModelError
from prune_ssl.models import backbone_of
from prune_ssl.models.origin import hand_on_origin, origin_of

NAMES = {
    "ForCTC": "a CTC head",
    "ForSequenceClassification": "a classification head",
    "ForAudioClassification": "a classification head",
    "ForAudioFrameClassification": "a head for frames",
    "ForXVector": "an x-vector head",
    "ForPreTraining": "a pre-training head",
}
SHOWN = 3


class AutoClass(Protocol):
    """An Auto class of transformers, such as `AutoModelForCTC`."""

    def from_config(self, config: PreTrainedConfig) -> PreTrainedModel:
        """Make a model with random weights."""
        ...


class Head(ABC):
    """The head that a task trains, and how a model gets it."""

    @property
    @abstractmethod
    def config(self) -> dict[str, object]:
        """Fields for the model's config, also usable as `from_pretrained(..., **head.config)`."""

    @abstractmethod
    def fits(self, model: PreTrainedModel) -> bool:
        """Return whether `model` has this head already, so that it may be trained as it is."""

    @abstractmethod
    def note(self, model: PreTrainedModel) -> str:
        """Say in a few words what becomes of the head of `model`: kept from where, or NEW and why."""

    @abstractmethod
    def put_on(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return a model that has this head; the backbone's weights are kept.

        Raises:
            ModelError: the family has no model with such a head.
        """


def label_fields(names: Sequence[str]) -> dict[str, object]:
    """Return `num_labels`, `id2label` and `label2id`, as a transformers config has them.

    >>> label_fields(["no", "yes"])["label2id"]
    {'no': 0, 'yes': 1}
    """
    return {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
    }


def kept(model: PreTrainedModel, detail: str = "") -> str:
    """Say that a task trains the head that the model has."""
    return f"kept from {model.name_or_path or 'the model'}{f' ({detail})' if detail else ''}"


def new(reason: str) -> str:
    """Say that a task's head starts untrained."""
    return f"NEW ({reason})"


def kind_of_head(model: PreTrainedModel) -> str:
    """Name the head of a model in words."""
    suffix = re.sub(r"^.*?(For\w+|)$", r"\1", type(model).__name__)
    return NAMES.get(suffix, "no head")


def wrong_kind(model: PreTrainedModel, wanted: str) -> str:
    """Say why a model's head is none of the task's."""
    origin, name = origin_of(model), model.name_or_path
    if not name:
        return "the model is made by the recipe" if origin is None else f"the model has {kind_of_head(model)}"
    if origin is not None and origin.head.startswith("dropped"):
        return f"that of {name} was {origin.head.partition(' (')[0]}"
    return f"{name} has {kind_of_head(model)}, the task wants {wanted}"


def labels_of(model: PreTrainedModel) -> tuple[str, ...]:
    """Return the labels of a model's outputs, in their order."""
    pairs = sorted((int(index), str(label)) for index, label in (model.config.id2label or {}).items())
    return tuple(label for _, label in pairs)


def labels_in_order(wanted: Iterable[str], model: PreTrainedModel | None) -> tuple[str, ...] | None:
    """Return a model's labels where they are those that are wanted, in any order; else None."""
    given = () if model is None else labels_of(model)
    return given if sorted(given) == sorted(wanted) else None


def rows_of(wanted: Sequence[str], model: PreTrainedModel) -> list[int] | None:
    """Return the outputs of a model that stand for the labels; None where it lacks one, or has it twice."""
    given = labels_of(model)
    covers = set(wanted) <= set(given) and all(given.count(label) == 1 for label in wanted)
    return [given.index(label) for label in wanted] if covers else None


def other_labels(model: PreTrainedModel, wanted: Sequence[str]) -> str:
    """Say why a model's outputs are not those of the task."""
    given = set(labels_of(model))
    lacking = [label for label in wanted if label not in given]
    return f"the {len(given)} labels of {model.name_or_path or 'the model'} do not have {some(lacking)}"


def some(names: Sequence[str]) -> str:
    """A few of some names."""
    return ", ".join(map(repr, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")


def with_fresh_head(
    model: PreTrainedModel, auto_class: AutoClass, overrides: Mapping[str, object], kind: str
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
    model.config.update(dict(overrides))
    try:
        fresh = auto_class.from_config(model.config)
    except ValueError as error:
        raise ModelError(
            f"{type(model).__name__}: transformers cannot put a {kind} head on it "
            f"({str(error).splitlines()[0]}): choose a model of a family that has one, such as wav2vec2"
        ) from error
    fresh.set_submodule(backbone_of(fresh)[0], backbone_of(model)[1])
    hand_on_origin(model, fresh)
    # Submodules of transformers each hold the config: it must stay one object.
    for module in fresh.modules():
        if getattr(module, "config", None) is model.config:
            vars(module)["config"] = fresh.config
    fresh.train(model.training)
    nn.Module.to(fresh, device=model.device, dtype=model.dtype)
    return fresh


def replace_last_layer_(
    model: PreTrainedModel,
    path: str,
    outputs: int,
    overrides: Mapping[str, object],
    rows: Sequence[int] | None = None,
) -> PreTrainedModel:
    """Give the Linear at `path` so many fresh outputs, in place, and return the model.

    With `rows` they are not fresh but these of the old ones.

    Raises:
        ModelError: there is no Linear at `path`.
    """
    model.config.update(dict(overrides))
    old = model.get_submodule(path)
    if not isinstance(old, nn.Linear):
        raise ModelError(
            f"{type(model).__name__}.{path}: a {type(old).__name__} found, a Linear wanted: "
            "give a model of the wav2vec 2.0 family"
        )
    made = nn.Linear(old.in_features, outputs, device=old.weight.device, dtype=old.weight.dtype)
    # The same as transformers' own start for a fresh head.
    nn.init.normal_(made.weight, std=model.config.initializer_range)
    nn.init.zeros_(made.bias)
    if rows is not None:
        with torch.no_grad():
            made.weight.copy_(old.weight[list(rows)])
            made.bias.copy_(old.bias[list(rows)])
    model.set_submodule(path, made)
    return model
