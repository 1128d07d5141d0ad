"""Owns classification of whole clips: keywords, intents, speakers of a closed set.

Letters: B clips in an evaluation, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import nn
from transformers import AutoModelForAudioClassification, EvalPrediction, PreTrainedModel

from prune_ssl.data import SpeechCollator, SpeechFolder
from prune_ssl.errors import DataError, ModelError
from prune_ssl.tasks.intervals import bootstrap_interval
from prune_ssl.tasks.metrics import Accuracy
from prune_ssl.tasks.task import Processor


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

    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.labels) < 2 or len(set(self.labels)) < len(self.labels):
            raise DataError(f"Classification: two or more distinct labels wanted, got {list(self.labels)}")

    @classmethod
    def from_folder(cls, folder: SpeechFolder, model: PreTrainedModel | None = None) -> Classification:
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
            of_model = [str(label) for _, label in sorted((model.config.id2label or {}).items())]
            if sorted(of_model) == sorted(folder.labels):
                return cls(tuple(of_model))
        return cls(folder.labels)

    def has_head(self, model: PreTrainedModel) -> bool:
        """Return whether `model` has a head for exactly these labels in this order already."""
        return has_classifier(model) and model.config.id2label == self.config_overrides["id2label"]

    @property
    def config_overrides(self) -> dict[str, Any]:
        """`num_labels`, `id2label` and `label2id`, as a transformers config has them."""
        return {
            "num_labels": len(self.labels),
            "id2label": dict(enumerate(self.labels)),
            "label2id": {label: index for index, label in enumerate(self.labels)},
        }

    def encode(self, target: str) -> int:
        """Class index of a label.

        Raises:
            DataError: the label is not one of the task's.
        """
        try:
            return self.labels.index(target)
        except ValueError as error:
            raise DataError(f"label {target!r} is not one of {', '.join(map(repr, self.labels))}") from error

    def with_head(self, model: PreTrainedModel) -> PreTrainedModel:
        """Give a sequence classification model with these labels.

        A model whose head has exactly these labels comes back as it is; one with other labels gets a new
        last layer, in place; any other model (bare, CTC, pre-training) gives its backbone, not copied, to a
        new model with a fresh head.

        Raises:
            ModelError: the family has no sequence classification model.
        """
        overrides = self.config_overrides
        if has_classifier(model):
            if not self.has_head(model):
                model.config.update(overrides)
                _replace_classifier_(model, len(self.labels))
            return model
        model.config.update(overrides)
        try:
            fresh = AutoModelForAudioClassification.from_config(model.config)
        except ValueError as error:
            raise ModelError(
                f"{type(model).__name__}: transformers cannot put a sequence classification head on it "
                f"({str(error).splitlines()[0]}): choose a model of the wav2vec 2.0 family"
            ) from error
        setattr(fresh, fresh.base_model_prefix, model.base_model)
        # Submodules of transformers each hold the config: it must stay one object.
        for module in fresh.modules():
            if getattr(module, "config", None) is model.config:
                module.config = fresh.config
        fresh.train(model.training)
        result: PreTrainedModel = fresh.to(device=model.device, dtype=model.dtype)
        return result

    def collator(
        self, processor: Processor | None = None, *, attention_mask: bool | None = None
    ) -> SpeechCollator:
        """Padded waveforms and class indices."""
        return SpeechCollator(processor, attention_mask=attention_mask)

    @property
    def compute_metrics(self) -> Callable[[EvalPrediction], dict[str, float]]:
        """Accuracy with its 95% bootstrap interval: `accuracy`, `accuracy_low`, `accuracy_high`, `clips`."""
        return classification_metrics


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


def _replace_classifier_(model: PreTrainedModel, classes: int) -> None:
    old = model.get_submodule("classifier")
    if not isinstance(old, nn.Linear):
        raise ModelError(
            f"{type(model).__name__}.classifier: a {type(old).__name__} found, a Linear wanted: "
            "give a model of the wav2vec 2.0 family"
        )
    new = nn.Linear(old.in_features, classes, device=old.weight.device, dtype=old.weight.dtype)
    # The same as transformers' own start for a fresh head.
    nn.init.normal_(new.weight, std=model.config.initializer_range)
    nn.init.zeros_(new.bias)
    model.set_submodule("classifier", new)
