"""Slot filling: one value per slot and clip, from one linear layer whose outputs are divided among the slots.

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
from prune_ssl.tasks.differences import ClipJudge
from prune_ssl.tasks.heads import Head, labels_in_order, labels_of, require_head
from prune_ssl.tasks.metrics import slot_counts
from prune_ssl.tasks.outcomes import Outcomes
from prune_ssl.tasks.task import Judge, Task, TaskSettings, TaskSpec


@dataclass(frozen=True)
class Slots(Task):
    """One value for each slot, judged by the F1 of the spoken slots and by the accuracy of whole clips.

    Args:
        labels: "slot=value" for every value, slot by slot. The value "none" means a slot that is not spoken.

    Raises:
        DataError: a label is not "slot=value", or the values of a slot are not adjacent.

    >>> task = Slots(("size=big", "size=small", "milk=none", "milk=oat"))
    >>> task.segments, task.encode("small|none")
    ({'size': slice(0, 2, None), 'milk': slice(2, 4, None)}, [1, 0])
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
        """Take the values of each slot in train, in the order of `model`'s head if it has the same values.

        Raises:
            DataError: the settings have no target such as "size|milk|sugar", or a slot has no value in train.
        """
        target = (settings or TaskSettings()).target
        if target is None:
            raise DataError('slots: no slots are named: set data.target to columns such as "size|milk|sugar"')
        rows = [label.split(SLOT_MARK) for label in folder.labels]
        columns = dict(zip(target.split(SLOT_MARK), zip(*rows, strict=True), strict=True))
        for slot, values in columns.items():
            if not any(values):
                raise DataError(
                    f"{folder.path}: no clip of train has a {slot}: fill this column for some clips, or "
                    "leave it out of data.target"
                )
        labels = [f"{slot}={value}" for slot, values in columns.items() for value in sorted({*values} - {""})]
        if model is not None and has_classifier(model):
            of_model = labels_in_order(labels, model)
            labels = labels if of_model is None else list(of_model)
        return cls(tuple(labels))

    @classmethod
    def from_model(
        cls, model: PreTrainedModel, folder: SpeechFolder, settings: TaskSettings | None = None
    ) -> Self:
        """Take the slots and values of a model, whatever values the folder has.

        Raises:
            ModelError: the model does not classify clips.
            DataError: its labels are not "slot=value", or the settings name other columns.
        """
        require_head(has_classifier(model), model, "one for slots")
        return cls._of_labels(model, settings)

    @classmethod
    def _of_labels(cls, model: PreTrainedModel, settings: TaskSettings | None) -> Self:
        made = cls(labels_of(model))
        own, target = SLOT_MARK.join(made.segments), (settings or TaskSettings()).target
        if target not in (None, own):
            raise DataError(f"{cls.spec.name}: found the target {target!r}, but the model predicts {own!r}.")
        return made

    @property
    def head(self) -> Head:
        """A classification head with an output for each value of each slot."""
        return ClassificationHead(self.labels)

    @property
    def segments(self) -> dict[str, slice]:
        """Maps each slot to its part of the K outputs."""
        names = [_slot(label) for label in self.labels]
        return {
            slot: slice(names.index(slot), names.index(slot) + names.count(slot))
            for slot in dict.fromkeys(names)
        }

    @property
    def logit_groups(self) -> tuple[int, ...]:
        """The number of values of each slot."""
        return tuple(part.stop - part.start for part in self.segments.values())

    def encode(self, target: str) -> list[int]:
        """Return the index of each slot's value within its segment, S numbers.

        A blank slot gives IGNORED if the task allows blanks.

        Raises:
            DataError: train does not have one of the values.
        """
        indices = self.encode_judged(target)
        given = zip(target.split(SLOT_MARK), indices, strict=True)
        if any(index == IGNORED and not (self.spec.blanks and not value) for value, index in given):
            raise DataError(f"slots: {target!r} has a value that train does not have")
        return indices

    def encode_judged(self, target: str) -> list[int]:
        """Return the indices for evaluation. A value that train does not have gives IGNORED."""
        return [
            self.labels[part].index(f"{slot}={value}") if f"{slot}={value}" in self.labels else IGNORED
            for (slot, part), value in zip(self.segments.items(), target.split(SLOT_MARK), strict=True)
        ]

    def loss_function(self) -> Callable[..., torch.Tensor]:
        """Return the loss: the sum over slots of the cross entropy of logits (B, K) and indices (B, S)."""
        return self.weighted_loss((1.0,) * len(self.segments))

    def weighted_loss(self, weights: Sequence[float]) -> Callable[..., torch.Tensor]:
        """Return the weighted sum over slots of their cross entropies. There is one weight per slot (S)."""
        parts = tuple(self.segments.values())

        def loss(
            outputs: Mapping[str, torch.Tensor], labels: torch.Tensor, num_items_in_batch: object = None
        ) -> torch.Tensor:
            logits = outputs["logits"]
            # A slot without a known value in the batch has no loss: its mean would divide by zero.
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
        """Yield how many clips of each split have a value that train does not have."""
        for split, clips in folder.splits.items():
            new = sum(IGNORED in self.encode_judged(clip.target) for clip in clips)
            if new:
                yield f"{split}: {new} of {len(clips)} clips have a value that train does not have"

    def judge(self, clips: Sequence[Clip], model: PreTrainedModel) -> Judge:
        """Return a function that gives `f1`, `accuracy` (all slots right) and the accuracy of each slot.

        The first two have 95% bootstrap intervals: `f1_low`, `f1_high`, `accuracy_low`, `accuracy_high`, and
        `f1_speakers`, `accuracy_speakers` if speakers were drawn.
        """
        parts = self.segments
        references = [
            [f"{slot}={value}" for slot, value in zip(parts, clip.target.split(SLOT_MARK), strict=True)]
            for clip in clips
        ]

        def measured(prediction: EvalPrediction) -> tuple[dict[str, float], Outcomes]:
            logits = np.asarray(self.slim(prediction.predictions, None))
            best = [part.start + logits[:, part].argmax(-1) for part in parts.values()]
            predictions = [[self.labels[index] for index in row] for row in np.stack(best, axis=1)]
            right, given = slot_counts(predictions, references)
            outcomes = Outcomes.on(clips, "f1", 2 * right, given)
            whole = [found == wanted for found, wanted in zip(predictions, references, strict=True)]
            found = {
                **outcomes.metrics(),
                **Outcomes.on(clips, "accuracy", whole).metrics(),
                **{
                    f"{slot}_accuracy": float(
                        np.mean([f[index] == w[index] for f, w in zip(predictions, references, strict=True)])
                    )
                    for index, slot in enumerate(parts)
                },
                "clips": float(len(references)),
            }
            return found, outcomes

        return ClipJudge(measured)


def slots_of(model: PreTrainedModel) -> Slots | None:
    """Return the slots that a model's labels name, or None if the labels are not "slot=value"."""
    labels = labels_of(model)
    try:
        return Slots(labels)
    except DataError:
        return None


def _slot(label: str) -> str:
    return label.partition("=")[0]
