"""Owns classification of whole clips: keywords, intents, speakers of a closed set.

Letters: B clips in an evaluation, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from transformers import (
    AutoModelForAudioClassification,
    EvalPrediction,
    PreTrainedModel,
    Wav2Vec2FeatureExtractor,
)

from prune_ssl.data import Clip, SpeechCollator, SpeechFolder
from prune_ssl.errors import DataError
from prune_ssl.tasks.heads import (
    kept,
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
from prune_ssl.tasks.task import Judge, Processor, TaskSettings, label_fields


@dataclass(frozen=True)
class Classification:
    """One label per clip, judged by accuracy.

    Args:
        labels: The distinct labels; their order gives the class indices.

    Raises:
        DataError: fewer than two labels, or one of them twice.
    """

    name: ClassVar[str] = "classification"
    target: ClassVar[str] = "label"
    metric: ClassVar[str] = "accuracy"
    greater_is_better: ClassVar[bool] = True
    auto_class: ClassVar[Any] = AutoModelForAudioClassification
    open_targets: ClassVar[bool] = False
    logit_groups: ClassVar[tuple[int, ...] | None] = None
    loss_is_judged: ClassVar[bool] = True
    whole_clips: ClassVar[bool] = False
    blanks: ClassVar[bool] = False

    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.labels) < 2 or len(set(self.labels)) < len(self.labels):
            raise DataError(f"Classification: two or more distinct labels wanted, got {list(self.labels)}")

    @classmethod
    def from_folder(
        cls, folder: SpeechFolder, model: PreTrainedModel | None = None, settings: TaskSettings | None = None
    ) -> Classification:
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

    def has_head(self, model: PreTrainedModel) -> bool:
        """Return whether `model` has a head for exactly these labels in this order already."""
        return has_classifier(model) and model.config.id2label == self.config_overrides["id2label"]

    def head_note(self, model: PreTrainedModel) -> str:
        """Say what becomes of the head of `model`."""
        if not has_classifier(model):
            return new(wrong_kind(model, "one for classification"))
        if self.has_head(model):
            return kept(model, f"{len(self.labels)} labels")
        if rows_of(self.labels, model) is not None:
            return kept(model, f"{len(self.labels)} of its {len(labels_of(model))} labels, found by name")
        return new(other_labels(model, self.labels))

    @property
    def config_overrides(self) -> dict[str, Any]:
        """`num_labels`, `id2label` and `label2id`, as a transformers config has them."""
        return label_fields(self.labels)

    def encode(self, target: str) -> int:
        """Class index of a label.

        Raises:
            DataError: the label is not one of the task's.
        """
        try:
            return self.labels.index(target)
        except ValueError as error:
            raise DataError(f"label {target!r} is not one of {', '.join(map(repr, self.labels))}") from error

    def encode_judged(self, target: str) -> int:
        """Do the same."""
        return self.encode(target)

    def with_head(self, model: PreTrainedModel) -> PreTrainedModel:
        """Give a sequence classification model with these labels.

        A model whose head has exactly these labels comes back as it is; one that has them among others keeps
        their rows, one with other labels gets a new last layer, both in place; any other model (bare, CTC,
        pre-training) gives its backbone, not copied, to a new model with a fresh head.

        Raises:
            ModelError: the family has no sequence classification model.
        """
        overrides = self.config_overrides
        if not has_classifier(model):
            return with_fresh_head(model, self.auto_class, overrides, "sequence classification")
        if self.has_head(model):
            return model
        rows = rows_of(self.labels, model)
        return replace_last_layer_(model, "classifier", len(self.labels), overrides, rows)

    def processor(self, extractor: Wav2Vec2FeatureExtractor) -> Processor:
        """The feature extractor alone."""
        return extractor

    def collator(
        self, processor: Processor | None = None, *, attention_mask: bool | None = None
    ) -> SpeechCollator:
        """Padded waveforms and class indices."""
        return SpeechCollator(processor, attention_mask=attention_mask)

    def loss_function(self) -> Callable[..., torch.Tensor] | None:
        """The model's own."""
        return None

    def check(
        self, folder: SpeechFolder, model: PreTrainedModel, settings: TaskSettings | None = None
    ) -> tuple[str, ...]:
        """Nothing: the check of the folder saw to the labels."""
        return ()

    def judge(self, clips: Sequence[Clip], model: PreTrainedModel) -> Judge:
        """Accuracy with its 95% bootstrap interval: `accuracy`, `accuracy_low`, `accuracy_high`, `clips`."""
        return classification_metrics

    @staticmethod
    def slim(outputs: Any, labels: Any) -> Any:
        """The logits, without hidden states and attentions that follow them."""
        return outputs[0] if isinstance(outputs, (tuple, list)) else outputs


def has_classifier(model: PreTrainedModel) -> bool:
    """Return whether `model` classifies whole clips."""
    return type(model).__name__.endswith("ForSequenceClassification")


def classification_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Accuracy of logits (B, K) against class indices (B,), with a 95% bootstrap interval.

    Raises:
        DataError: no predictions, or their number differs from that of the references.
    """
    # Outputs beyond the logits (hidden states, attentions) follow them.
    outputs = prediction.predictions
    logits = np.asarray(outputs[0] if isinstance(outputs, (tuple, list)) else outputs)
    references: npt.NDArray[Any] = np.asarray(prediction.label_ids)
    if logits.ndim != 2 or logits.shape[0] != references.shape[0] or logits.shape[0] == 0:
        raise DataError(
            f"classification_metrics: logits {logits.shape} and labels {references.shape} "
            "given, (B, K) and (B,) wanted"
        )
    predictions = logits.argmax(axis=-1)
    result: dict[str, float] = Accuracy().compute(predictions=predictions, references=references)
    low, high = bootstrap_interval(predictions == references)
    return {**result, "accuracy_low": low, "accuracy_high": high, "clips": float(len(references))}
