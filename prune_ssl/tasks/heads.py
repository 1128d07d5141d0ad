"""The heads of tasks: put a fresh head on a model's backbone, or give its head a new last layer."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from prune_ssl.errors import ModelError
from prune_ssl.models import FAMILIES, backbone_of
from prune_ssl.models.origin import hand_on_origin, origin_of

NAMES = {
    "ForCTC": "a CTC head",
    "ForSequenceClassification": "a classification head",
    "ForAudioClassification": "a classification head",
    "ForAudioFrameClassification": "a head for frames",
    "ForXVector": "an x-vector head",
    "ForPreTraining": "a pre-training head",
}
"""The words for each head by the suffix of its class."""

SHOWN = 3
"""A message names so many labels."""


class AutoClass(Protocol):
    """An Auto class of transformers, such as `AutoModelForCTC`."""

    def from_config(self, config: PreTrainedConfig) -> PreTrainedModel:
        """Make a model with random weights."""
        ...


class Head(ABC):
    """The head that a task trains, and how to put it on a model."""

    @property
    @abstractmethod
    def config(self) -> dict[str, object]:
        """Fields for the model's config. `from_pretrained(..., **head.config)` takes them too."""

    @abstractmethod
    def fits(self, model: PreTrainedModel) -> bool:
        """Return whether `model` already has this head, so that it can be trained as it is."""

    @abstractmethod
    def note(self, model: PreTrainedModel) -> str:
        """Return a few words on the head of `model`: where it is kept from, or that it is NEW and why."""

    @abstractmethod
    def put_on(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return a model that has this head and the weights of `model`'s backbone.

        Raises:
            ModelError: the family has no model with such a head.
        """


@dataclass(frozen=True)
class LabelledHead(Head):
    """A head with one output per label.

    Args:
        labels: The labels in the order of the outputs.
    """

    class_suffix: ClassVar[str]
    """The end of the names of the model classes with such a head."""

    labels: tuple[str, ...]

    @property
    def config(self) -> dict[str, object]:
        """`num_labels`, `id2label` and `label2id` for a transformers config."""
        return label_fields(self.labels)

    def fits(self, model: PreTrainedModel) -> bool:
        """Return whether `model` has a head of this kind with exactly these labels in this order."""
        return (
            type(model).__name__.endswith(self.class_suffix)
            and model.config.id2label == self.config["id2label"]
        )


def label_fields(names: Sequence[str]) -> dict[str, object]:
    """Return `num_labels`, `id2label` and `label2id` for a transformers config.

    >>> label_fields(["no", "yes"])["label2id"]
    {'no': 0, 'yes': 1}
    """
    return {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
    }


def kept(model: PreTrainedModel, detail: str = "") -> str:
    """Return the note that the task trains the model's own head."""
    return f"kept from {model.name_or_path or 'the model'}{f' ({detail})' if detail else ''}"


def new(reason: str) -> str:
    """Return the note that the task's head starts untrained."""
    return f"NEW ({reason})"


def kind_of_head(model: PreTrainedModel) -> str:
    """Return the words for the head of a model.

    >>> from transformers import HubertConfig, HubertForCTC
    >>> config = HubertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    >>> kind_of_head(HubertForCTC(config))
    'a CTC head'
    """
    suffix = re.sub(r"^.*?(For\w+|)$", r"\1", type(model).__name__)
    return NAMES.get(suffix, "no head")


def wrong_kind(model: PreTrainedModel, wanted: str) -> str:
    """Return the reason why a model's head is not of the kind that the task needs."""
    origin, name = origin_of(model), model.name_or_path
    if not name:
        return "the model is made by the recipe" if origin is None else f"the model has {kind_of_head(model)}"
    if origin is not None and origin.head.startswith("dropped"):
        return f"the head of {name} was {origin.head.partition(' (')[0]}"
    return f"{name} has {kind_of_head(model)}, the task wants {wanted}"


def require_head(has: bool, model: PreTrainedModel, wanted: str) -> None:
    """Refuse to judge a model that lacks a head, because a new head would have learned nothing.

    Args:
        has: Whether the model has the head.
        model: The model.
        wanted: The words for the head.

    Raises:
        ModelError: the model lacks the head.
    """
    if not has:
        raise ModelError(
            f"{wrong_kind(model, wanted)}: give a model that was trained for this task, or another task."
        )


def labels_of(model: PreTrainedModel) -> tuple[str, ...]:
    """Return the labels of a model's outputs, in their order."""
    pairs = sorted((int(index), str(label)) for index, label in (model.config.id2label or {}).items())
    return tuple(label for _, label in pairs)


def labels_in_order(wanted: Iterable[str], model: PreTrainedModel | None) -> tuple[str, ...] | None:
    """Return a model's labels in its own order if they are the wanted ones in any order, else None."""
    given = () if model is None else labels_of(model)
    return given if sorted(given) == sorted(wanted) else None


def rows_of(wanted: Sequence[str], model: PreTrainedModel) -> list[int] | None:
    """Return the index of each label's output in a model, or None if a label is missing or repeats."""
    given = labels_of(model)
    covers = set(wanted) <= set(given) and all(given.count(label) == 1 for label in wanted)
    return [given.index(label) for label in wanted] if covers else None


def other_labels(model: PreTrainedModel, wanted: Sequence[str]) -> str:
    """Return the reason why a model's outputs do not cover the labels of the task."""
    given = set(labels_of(model))
    lacking = [label for label in wanted if label not in given]
    return f"the {len(given)} labels of {model.name_or_path or 'the model'} do not have {some(lacking)}"


def some(names: Sequence[str]) -> str:
    """Return the first few names as one text."""
    return ", ".join(map(repr, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")


def _families_with(auto_class: object) -> list[str]:
    """Return the families that have a model of an Auto class."""
    name = getattr(auto_class, "__name__", "")
    return [
        family.name
        for family in FAMILIES.values()
        if family.classes is not None and any(auto == name for _, auto in family.classes.heads)
    ]


def with_fresh_head(
    model: PreTrainedModel, auto_class: AutoClass, overrides: Mapping[str, object], kind: str
) -> PreTrainedModel:
    """Return a new model with a fresh head on `model`'s backbone. The backbone is shared, not copied.

    Args:
        model: Any model of transformers that has the backbone. Its config is changed.
        auto_class: The Auto class of the head, such as `AutoModelForCTC`.
        overrides: Fields of the config.
        kind: The words for the head in an error.

    Raises:
        ModelError: the family has no model with such a head.
    """
    model.config.update(dict(overrides))
    try:
        fresh = auto_class.from_config(model.config)
    except ValueError as error:
        raise ModelError(
            f"{type(model).__name__}: transformers cannot put a {kind} head on it "
            f"({str(error).splitlines()[0]}): choose a model of a family that has one, such as "
            f"{', '.join(_families_with(auto_class)[:SHOWN])}"
        ) from error
    fresh.set_submodule(backbone_of(fresh)[0], backbone_of(model)[1])
    hand_on_origin(model, fresh)
    # Each submodule of transformers holds the config, and all must hold the same object.
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
    """Replace the Linear at `path` in place by one with `outputs` outputs, and return the model.

    Args:
        model: The model to change.
        path: The Linear.
        outputs: The new number of outputs.
        overrides: Fields of the config.
        rows: The old outputs to copy into the new ones, in order. None initialises the layer at random.

    Raises:
        ModelError: there is no Linear at `path`.
    """
    model.config.update(dict(overrides))
    old = model.get_submodule(path)
    if not isinstance(old, nn.Linear):
        raise ModelError(
            f"{type(model).__name__}.{path}: found a {type(old).__name__}, wanted a Linear: "
            "give a model of the wav2vec 2.0 family"
        )
    made = nn.Linear(old.in_features, outputs, device=old.weight.device, dtype=old.weight.dtype)
    # transformers initialises a fresh head in the same way.
    nn.init.normal_(made.weight, std=model.config.initializer_range)
    nn.init.zeros_(made.bias)
    if rows is not None:
        with torch.no_grad():
            made.weight.copy_(old.weight[list(rows)])
            made.bias.copy_(old.bias[list(rows)])
    model.set_submodule(path, made)
    return model
