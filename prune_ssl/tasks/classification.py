"""Classification of whole clips: keywords, intents, or speakers of a closed set.

Letters: B clips in an evaluation, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from transformers import AutoModelForAudioClassification, EvalPrediction, PreTrainedModel
from typing_extensions import Self

from prune_ssl.data import Clip, SpeechFolder
from prune_ssl.errors import DataError
from prune_ssl.tasks.differences import ClipJudge
from prune_ssl.tasks.heads import (
    Head,
    LabelledHead,
    kept,
    labels_in_order,
    labels_of,
    new,
    other_labels,
    replace_last_layer_,
    require_head,
    rows_of,
    with_fresh_head,
    wrong_kind,
)
from prune_ssl.tasks.intervals import bootstrap_interval
from prune_ssl.tasks.outcomes import Outcomes
from prune_ssl.tasks.task import Judge, Task, TaskSettings, TaskSpec


@dataclass(frozen=True)
class ClassificationHead(LabelledHead):
    """One linear layer on the mean of the frames, with an output for each label.

    Args:
        labels: The labels in the order of the outputs.

    >>> ClassificationHead(("no", "yes")).config["id2label"]
    {0: 'no', 1: 'yes'}
    """

    class_suffix: ClassVar[str] = "ForSequenceClassification"

    def note(self, model: PreTrainedModel) -> str:
        """Return whether the head of `model` is kept (whole or in part) or new, and why."""
        if not has_classifier(model):
            return new(wrong_kind(model, "one for classification"))
        if self.fits(model):
            return kept(model, f"{len(self.labels)} labels")
        if rows_of(self.labels, model) is not None:
            return kept(model, f"{len(self.labels)} of its {len(labels_of(model))} labels, found by name")
        return new(other_labels(model, self.labels))

    def put_on(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return a sequence classification model with these labels.

        A model whose head has exactly these labels is returned as it is. A head that has them among others
        keeps their rows, and a head with other labels gets a new last layer; both are changed in place. Any
        other model (bare, CTC, pre-training) shares its backbone with a new model that has a fresh head.

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
        labels: The distinct labels. Their order gives the class indices.

    Raises:
        DataError: there are fewer than two labels, or a label repeats.

    >>> Classification(("no", "yes")).encode("yes")
    1
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
        """Take the labels of the train split, in the order of `model`'s head if it has the same labels.

        Otherwise the labels are sorted.

        Raises:
            DataError: train has only one label.
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

    @classmethod
    def from_model(
        cls, model: PreTrainedModel, folder: SpeechFolder, settings: TaskSettings | None = None
    ) -> Self:
        """Take the labels of a model, whatever labels the folder has.

        Raises:
            ModelError: the model does not classify clips.
        """
        require_head(has_classifier(model), model, "one for classification")
        return cls(labels_of(model))

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
        """Return a function that gives the accuracy with its 95% bootstrap interval, over speakers if known.

        The metrics are those of `classification_metrics`, and the number of speakers if they were drawn.
        """

        def measured(prediction: EvalPrediction) -> tuple[dict[str, float], Outcomes]:
            right = hits(prediction)
            outcomes = Outcomes.on(clips, "accuracy", right)
            return {**outcomes.metrics(), "clips": float(len(right))}, outcomes

        return ClipJudge(measured)


def require_distinct(labels: Sequence[str], task: str) -> None:
    """Refuse fewer than two labels, and labels that repeat.

    Raises:
        DataError: the labels are refused.
    """
    if len(labels) < 2 or len(set(labels)) < len(labels):
        raise DataError(f"{task}: two or more distinct labels wanted, got {list(labels)}")


def has_classifier(model: PreTrainedModel) -> bool:
    """Return whether `model` classifies whole clips."""
    return type(model).__name__.endswith(("ForSequenceClassification", "ForAudioClassification"))


def classification_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Return the accuracy of logits (B, K) against class indices (B,), with a 95% interval over clips.

    Returns:
        `accuracy`, `accuracy_low`, `accuracy_high` (0 to 1), and the number of `clips`.

    Raises:
        DataError: there are no predictions, or not as many as labels.

    >>> logits, labels = np.array([[2.0, 1.0], [0.0, 3.0]]), np.array([0, 1])
    >>> classification_metrics(EvalPrediction(logits, labels))["accuracy"]
    1.0
    """
    right = hits(prediction)
    low, high = bootstrap_interval(right)
    return {
        "accuracy": float(right.mean()),
        "accuracy_low": low,
        "accuracy_high": high,
        "clips": float(len(right)),
    }


def hits(prediction: EvalPrediction) -> npt.NDArray[np.bool_]:
    """Return whether the greatest of each clip's logits (B, K) is that of its class index, (B,).

    Raises:
        DataError: there are no predictions, or not as many as labels.
    """
    # Other outputs (hidden states, attentions) follow the logits.
    outputs = prediction.predictions
    logits = np.asarray(outputs[0] if isinstance(outputs, (tuple, list)) else outputs)
    references = np.asarray(prediction.label_ids)
    if logits.ndim != 2 or logits.shape[0] != references.shape[0] or logits.shape[0] == 0:
        raise DataError(
            f"classification_metrics: logits {logits.shape} and labels {references.shape} "
            "given, (B, K) and (B,) wanted"
        )
    return np.asarray(logits.argmax(axis=-1) == references)
