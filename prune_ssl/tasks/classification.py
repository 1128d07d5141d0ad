"""Owns classification of whole clips: keywords, intents, speakers of a closed set.

Letters: B clips in an evaluation, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from transformers import AutoModelForAudioClassification, EvalPrediction, PreTrainedModel
from typing_extensions import Self

from prune_ssl.data import Clip, SpeechFolder
from prune_ssl.errors import DataError
from prune_ssl.tasks.heads import (
    Head,
    kept,
    label_fields,
    labels_in_order,
    labels_of,
    new,
    other_labels,
    replace_last_layer_,
    rows_of,
    with_fresh_head,
    wrong_kind,
)
from prune_ssl.tasks.intervals import bootstrap_interval
from prune_ssl.tasks.metrics import Accuracy
from prune_ssl.tasks.task import Judge, Task, TaskSettings, TaskSpec


@dataclass(frozen=True)
class ClassificationHead(Head):
    """One linear layer on the mean of the frames, with an output for each label.

    Args:
        labels: In the order of the outputs.
    """

    labels: tuple[str, ...]

    @property
    def config(self) -> dict[str, object]:
        """`num_labels`, `id2label` and `label2id`, as a transformers config has them."""
        return label_fields(self.labels)

    def fits(self, model: PreTrainedModel) -> bool:
        """Return whether `model` has a head for exactly these labels in this order already."""
        return has_classifier(model) and model.config.id2label == self.config["id2label"]

    def note(self, model: PreTrainedModel) -> str:
        """Say what becomes of the head of `model`."""
        if not has_classifier(model):
            return new(wrong_kind(model, "one for classification"))
        if self.fits(model):
            return kept(model, f"{len(self.labels)} labels")
        if rows_of(self.labels, model) is not None:
            return kept(model, f"{len(self.labels)} of its {len(labels_of(model))} labels, found by name")
        return new(other_labels(model, self.labels))

    def put_on(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return a sequence classification model with these labels.

        A model whose head has exactly these labels comes back as it is; one that has them among others keeps
        their rows, one with other labels gets a new last layer, both in place; any other model (bare, CTC,
        pre-training) gives its backbone, not copied, to a new model with a fresh head.

        Raises:
            ModelError: the family has no sequence classification model.
        """
        if not has_classifier(model):
            return with_fresh_head(
                model, AutoModelForAudioClassification, self.config, "sequence classification"
            )
        if self.fits(model):
            return model
        rows = rows_of(self.labels, model)
        return replace_last_layer_(model, "classifier", len(self.labels), self.config, rows)


@dataclass(frozen=True)
class Classification(Task):
    """One label per clip, judged by accuracy.

    Args:
        labels: The distinct labels; their order gives the class indices.

    Raises:
        DataError: fewer than two labels, or one of them twice.
    """

    spec: ClassVar[TaskSpec] = TaskSpec(
        name="classification", metric="accuracy", auto_class=AutoModelForAudioClassification
    )

    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        require_distinct(self.labels, "Classification")

    @classmethod
    def from_folder(
        cls, folder: SpeechFolder, model: PreTrainedModel | None = None, settings: TaskSettings | None = None
    ) -> Self:
        """Take the labels of the train split, in the order of `model`'s head if it has the same ones.

        Otherwise they are sorted.

        Raises:
            DataError: there is only one.
        """
        if len(folder.labels) < 2:
            raise DataError(
                f"{folder.path}: train has only the label {folder.labels[0]!r}: "
                "classification needs clips of at least two"
            )
        if model is not None and has_classifier(model):
            of_model = labels_in_order(folder.labels, model)
            if of_model is not None:
                return cls(of_model)
        return cls(folder.labels)

    @property
    def head(self) -> Head:
        """A classification head with an output for each label."""
        return ClassificationHead(self.labels)

    def encode(self, target: str) -> int:
        """Return the class index of a label.

        Raises:
            DataError: the label is not one of the task's.
        """
        try:
            return self.labels.index(target)
        except ValueError as error:
            raise DataError(f"label {target!r} is not one of {', '.join(map(repr, self.labels))}") from error

    def judge(self, clips: Sequence[Clip], model: PreTrainedModel) -> Judge:
        """Accuracy with its 95% bootstrap interval: `accuracy`, `accuracy_low`, `accuracy_high`, `clips`."""
        return classification_metrics


def require_distinct(labels: Sequence[str], task: str) -> None:
    """Refuse fewer than two labels, and labels that come twice.

    Raises:
        DataError: it is so.
    """
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise DataError(f"{task}: two or more distinct labels wanted, got {list(labels)}")


def has_classifier(model: PreTrainedModel) -> bool:
    """Return whether `model` classifies whole clips."""
    return type(model).__name__.endswith(("ForSequenceClassification", "ForAudioClassification"))


def classification_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Accuracy of logits (B, K) against class indices (B,), with a 95% bootstrap interval.

    Raises:
        DataError: no predictions, or their number differs from that of the references.
    """
    # Outputs beyond the logits (hidden states, attentions) follow them.
    outputs = prediction.predictions
    logits = np.asarray(outputs[0] if isinstance(outputs, (tuple, list)) else outputs)
    references = np.asarray(prediction.label_ids)
    if logits.ndim != 2 or logits.shape[0] != references.shape[0] or logits.shape[0] == 0:
        raise DataError(
            f"classification_metrics: logits {logits.shape} and labels {references.shape} "
            "given, (B, K) and (B,) wanted"
        )
    predictions = logits.argmax(axis=-1)
    result: dict[str, float] = Accuracy().compute(predictions=predictions, references=references)
    low, high = bootstrap_interval(predictions == references)
    return {**result, "accuracy_low": low, "accuracy_high": high, "clips": float(len(references))}
