"""Owns slot filling: one value per slot and clip, from one linear layer cut into a segment per slot.

Letters: B clips, S slots, K values of all slots together. The loss is the sum over slots, as in the intent
classification of SUPERB (Yang et al., Interspeech 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForAudioClassification, EvalPrediction, PreTrainedModel
from typing_extensions import Self

from prune_ssl.data import IGNORED, SLOT_MARK, Clip, SpeechFolder
from prune_ssl.errors import DataError
from prune_ssl.tasks.classification import ClassificationHead, has_classifier, require_distinct
from prune_ssl.tasks.heads import Head, labels_in_order, labels_of
from prune_ssl.tasks.intervals import bootstrap_interval, bootstrap_ratio
from prune_ssl.tasks.metrics import slot_counts
from prune_ssl.tasks.task import Judge, Task, TaskSettings, TaskSpec


@dataclass(frozen=True)
class Slots(Task):
    """A value for each slot, judged by F1 over the slots that were said and by clips with all slots right.

    Args:
        labels: "slot=value" for every value, slot by slot; the value "none" is a slot that was not said.

    Raises:
        DataError: a label is no "slot=value", or the values of a slot do not stand together.
    """

    spec: ClassVar[TaskSpec] = TaskSpec(
        name="slots", metric="f1", auto_class=AutoModelForAudioClassification, open_targets=True
    )

    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        require_distinct(self.labels, type(self).__name__)
        names = [slot for slot, _ in groupby(self.labels, key=_slot)]
        if len(set(names)) < len(names) or not all("=" in label for label in self.labels):
            raise DataError(f"Slots: labels 'slot=value', slot by slot, wanted, got {list(self.labels)}")

    @classmethod
    def from_folder(
        cls, folder: SpeechFolder, model: PreTrainedModel | None = None, settings: TaskSettings | None = None
    ) -> Self:
        """Take each slot's values in train, in the order of `model`'s head if it has the same ones.

        Raises:
            DataError: the settings name no slots: a target such as "size|milk|sugar".
        """
        target = (settings or TaskSettings()).target
        if target is None:
            raise DataError('slots: no slots are named: set data.target to columns such as "size|milk|sugar"')
        rows = [label.split(SLOT_MARK) for label in folder.labels]
        columns = dict(zip(target.split(SLOT_MARK), zip(*rows, strict=True), strict=True))
        for slot, values in columns.items():
            if not any(values):
                raise DataError(
                    f"{folder.path}: no clip of train has a {slot}: give some clips one, or leave the "
                    "column out of data.target"
                )
        labels = [f"{slot}={value}" for slot, values in columns.items() for value in sorted({*values} - {""})]
        if model is not None and has_classifier(model):
            of_model = labels_in_order(labels, model)
            labels = labels if of_model is None else list(of_model)
        return cls(tuple(labels))

    @property
    def head(self) -> Head:
        """A classification head with an output for each value of each slot."""
        return ClassificationHead(self.labels)

    @property
    def segments(self) -> dict[str, slice]:
        """Slot -> its part of the K outputs."""
        names = [_slot(label) for label in self.labels]
        return {
            slot: slice(names.index(slot), names.index(slot) + names.count(slot))
            for slot in dict.fromkeys(names)
        }

    @property
    def logit_groups(self) -> tuple[int, ...]:
        """Number of values of each slot."""
        return tuple(part.stop - part.start for part in self.segments.values())

    def encode(self, target: str) -> list[int]:
        """Index of each slot's value within its segment (S); IGNORED for a blank, where the task has blanks.

        Raises:
            DataError: train does not have a value.
        """
        indices = self.encode_judged(target)
        given = zip(target.split(SLOT_MARK), indices, strict=True)
        if any(index == IGNORED and not (self.spec.blanks and not value) for value, index in given):
            raise DataError(f"slots: {target!r} has a value that train does not have")
        return indices

    def encode_judged(self, target: str) -> list[int]:
        """Return the indices for evaluation: IGNORED for a new value too, which the loss leaves out."""
        return [
            self.labels[part].index(f"{slot}={value}") if f"{slot}={value}" in self.labels else IGNORED
            for (slot, part), value in zip(self.segments.items(), target.split(SLOT_MARK), strict=True)
        ]

    def loss_function(self) -> Callable[..., torch.Tensor]:
        """Sum over slots of the cross entropy of logits (B, K) against indices (B, S)."""
        return self.weighted_loss((1.0,) * len(self.segments))

    def weighted_loss(self, weights: Sequence[float]) -> Callable[..., torch.Tensor]:
        """The same, each slot's with its weight (S)."""
        parts = tuple(self.segments.values())

        def loss(
            outputs: Mapping[str, torch.Tensor], labels: torch.Tensor, num_items_in_batch: object = None
        ) -> torch.Tensor:
            logits = outputs["logits"]
            # A slot of which no clip has a known value has no loss (its mean would be over nothing).
            each = [
                weight * cross_entropy(logits[:, part], labels[:, index], ignore_index=IGNORED)
                for index, (part, weight) in enumerate(zip(parts, weights, strict=True))
                if (labels[:, index] != IGNORED).any()
            ]
            return torch.stack(each).sum() if each else logits.sum() * 0

        return loss

    def check(
        self, folder: SpeechFolder, model: PreTrainedModel, settings: TaskSettings | None = None
    ) -> Iterator[str]:
        """Count what cannot be right: values that train does not have."""
        for split, clips in folder.splits.items():
            new = sum(IGNORED in self.encode_judged(clip.target) for clip in clips)
            if new:
                yield f"{split}: {new} of {len(clips)} clips have a value that train does not have"

    def judge(self, clips: Sequence[Clip], model: PreTrainedModel) -> Judge:
        """`f1` and `accuracy` (all slots right) with 95% bootstrap intervals, the accuracy of each slot."""
        parts = self.segments
        references = [
            [f"{slot}={value}" for slot, value in zip(parts, clip.target.split(SLOT_MARK), strict=True)]
            for clip in clips
        ]

        def rates(prediction: EvalPrediction) -> dict[str, float]:
            logits = np.asarray(self.slim(prediction.predictions, None))
            best = [part.start + logits[:, part].argmax(-1) for part in parts.values()]
            predictions = [[self.labels[index] for index in row] for row in np.stack(best, axis=1)]
            right, given = slot_counts(predictions, references)
            low, high = bootstrap_ratio(2 * right, given)
            whole = [found == wanted for found, wanted in zip(predictions, references, strict=True)]
            whole_low, whole_high = bootstrap_interval(whole)
            return {
                "f1": float(2 * right.sum() / given.sum()),
                "f1_low": low,
                "f1_high": high,
                "accuracy": float(np.mean(whole)),
                "accuracy_low": whole_low,
                "accuracy_high": whole_high,
                **{
                    f"{slot}_accuracy": float(
                        np.mean([f[index] == w[index] for f, w in zip(predictions, references, strict=True)])
                    )
                    for index, slot in enumerate(parts)
                },
                "clips": float(len(references)),
            }

        return rates


def slots_of(model: PreTrainedModel) -> Slots | None:
    """Return the slots whose values a model's labels are; None where they are no "slot=value"."""
    labels = labels_of(model)
    try:
        return Slots(labels)
    except DataError:
        return None


def _slot(label: str) -> str:
    return label.partition("=")[0]
