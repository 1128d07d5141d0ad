"""Owns joint tasks: one encoder that spots keywords and verifies speakers (Kerpicci et al., 2210.16611).

The model is a stock x-vector model. Its last layer is cut into a segment per task, as in slot filling. A
speaker is verified by the segment of the train speakers, centred: what in the embedding tells speakers apart,
without the words that it holds as well. The losses are weighted cross entropies (for the speakers as Snyder
et al., ICASSP 2018), and what loads an x-vector model loads this one. The paper's heads are not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForAudioXVector, EvalPrediction, PreTrainedModel
from typing_extensions import Self

from prune_ssl.data import SLOT_MARK, Clip, SpeechFolder, Trial, find_trials
from prune_ssl.errors import DataError, ModelError
from prune_ssl.models.xvector import XVECTOR_FIELDS
from prune_ssl.tasks.heads import (
    Head,
    kept,
    label_fields,
    labels_in_order,
    labels_of,
    new,
    other_labels,
    replace_last_layer_,
    wrong_kind,
)
from prune_ssl.tasks.intervals import bootstrap_interval
from prune_ssl.tasks.slots import Slots
from prune_ssl.tasks.task import Judge, TaskSettings, TaskSpec
from prune_ssl.tasks.verification import (
    describe_trials,
    has_xvector,
    replace_objective_,
    require_tdnn_frames,
    trial_rates,
    trials_of,
    with_fresh_xvector,
)

SPEAKER = "speaker"
"""The slot that is verified rather than classified."""


@dataclass(frozen=True)
class JointHead(Head):
    """An x-vector head whose last layer has a segment of outputs for each column.

    Args:
        labels: "column=value" for every value, column by column.
    """

    labels: tuple[str, ...]

    @property
    def config(self) -> dict[str, object]:
        """`num_labels`, `id2label` and `label2id`, as a transformers config has them."""
        return label_fields(self.labels)

    def fits(self, model: PreTrainedModel) -> bool:
        """Return whether `model` is an x-vector model with these segments."""
        return has_xvector(model) and model.config.id2label == self.config["id2label"]

    def note(self, model: PreTrainedModel) -> str:
        """Say what becomes of the head of `model`; with other labels only its last layer is new."""
        if not has_xvector(model):
            return new(wrong_kind(model, "an x-vector head"))
        return (
            kept(model)
            if self.fits(model)
            else kept(model, f"its last layer is NEW: {other_labels(model, self.labels)}")
        )

    def put_on(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return an x-vector model whose embedding and last layer have an output for every value, or more.

        Raises:
            ModelError: the family has no x-vector model, or a given one is too small.
        """
        outputs = int(getattr(model.config, "xvector_output_dim", 0))
        if not has_xvector(model):
            least = outputs or XVECTOR_FIELDS["xvector_output_dim"]
            return with_fresh_xvector(
                model, self.config | {"xvector_output_dim": max(least, len(self.labels))}
            )
        if outputs < len(self.labels):
            raise ModelError(
                f"{type(model).__name__}: its last layer has {outputs} outputs, {len(self.labels)} wanted: "
                "start from a model without this head"
            )
        if self.fits(model):
            return model
        made = replace_last_layer_(model, "classifier", outputs, self.config)
        replace_objective_(made, len(self.labels))  # not used, but a copy by the config has one of this size
        return made


@dataclass(frozen=True)
class Joint(Slots):
    """Labels and speaker of a clip by one encoder: accuracy of the labels, EER of the speakers.

    A clip may have some of them only, as where each task has a corpus of its own: what is blank gives no loss
    and is not judged.

    Args:
        labels: "column=value" for every value, column by column; one column is the speaker.
        weights: Of the losses, in the order of the columns.
        trials: Pairs to judge; None: all pairs of the judged clips.

    Raises:
        DataError: no column is the speaker or none is a label, or the weights do not fit the columns.
    """

    spec: ClassVar[TaskSpec] = TaskSpec(
        name="joint",
        metric="accuracy",
        auto_class=AutoModelForAudioXVector,
        open_targets=True,
        loss_is_judged=False,
        blanks=True,
    )

    weights: tuple[float, ...] = ()
    trials: tuple[Trial, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        columns = tuple(self.segments)
        if SPEAKER not in columns or len(columns) < 2:
            raise DataError(f"joint: wanted the column {SPEAKER!r} and others, got {', '.join(columns)}")
        if self.weights and (len(self.weights) != len(columns) or min(self.weights) <= 0):
            raise DataError(
                f"joint: a positive weight for each of {', '.join(columns)} wanted: {self.weights}"
            )

    @classmethod
    def from_folder(
        cls, folder: SpeechFolder, model: PreTrainedModel | None = None, settings: TaskSettings | None = None
    ) -> Self:
        """Take the values of train and the folder's trial list.

        Raises:
            DataError: the settings name no columns (such as "label|speaker"), or the list cannot be read.
        """
        given = settings or TaskSettings()
        found = super().from_folder(folder, None, given)
        of_model = labels_in_order(found.labels, model) if model is not None and has_xvector(model) else None
        if of_model is not None:
            found = replace(found, labels=of_model)
        return replace(found, weights=given.weights, trials=find_trials(folder.path, given.trials))

    @property
    def head(self) -> Head:
        """An x-vector head whose last layer has an output for every value of every column."""
        return JointHead(self.labels)

    def loss_function(self) -> Callable[..., torch.Tensor]:
        """Weighted sum of the cross entropies of the columns."""
        return self.weighted_loss(self.weights or (1.0,) * len(self.segments))

    def check(
        self, folder: SpeechFolder, model: PreTrainedModel, settings: TaskSettings | None = None
    ) -> Iterator[str]:
        """Refuse clips that are too short for the head; say how many have what, and what the trials are.

        Raises:
            DataError: a clip is too short; no clip of the judged split has a value of a column; that split
                has not both kinds of trials, or the list names a file that is not there.
        """
        given = settings or TaskSettings()
        require_tdnn_frames(folder, model, given)
        yield from self._filled(folder, folder.judged_split(given.judged))
        known = {label.partition("=")[2] for label in self.labels[self.segments[SPEAKER]]}
        splits = {split: self._by_speaker(clips)[1] for split, clips in folder.splits.items()}
        yield from describe_trials(replace(folder, splits=splits), given.judged, self.trials, known)

    def judge(self, clips: Sequence[Clip], model: PreTrainedModel) -> Judge:
        """`accuracy` (all labels but the speaker right) and `eer`, each with its interval; `min_dcf`.

        A clip without any label does not count for the accuracy, one without a speaker is in no trial, unless
        a list has it; `clips` are those with a label.

        Raises:
            DataError: no clip has a label, or there are not both kinds of trials.
        """
        rows, spoken = self._by_speaker(clips)
        rates = trial_rates(spoken, trials_of(spoken, self.trials))
        parts = {column: part for column, part in self.segments.items() if column != SPEAKER}
        speakers = self.segments[SPEAKER]
        targets = [self._values(clip) for clip in clips]
        labelled = [row for row, target in enumerate(targets) if any(target[column] for column in parts)]
        if not labelled:
            raise DataError(f"joint: none of these {len(clips)} clips has a label of {', '.join(parts)}.")

        def judged(prediction: EvalPrediction) -> dict[str, float]:
            logits = np.asarray(self.slim(prediction.predictions, None))
            right = np.ones(len(labelled), dtype=bool)
            for column, part in parts.items():
                best = part.start + logits[labelled, part].argmax(-1)
                right &= [
                    not targets[row][column] or self.labels[index] == f"{column}={targets[row][column]}"
                    for index, row in zip(best, labelled, strict=True)
                ]
            low, high = bootstrap_interval(right)
            found = {"accuracy": float(right.mean()), "accuracy_low": low, "accuracy_high": high}
            return {**found, **rates(centred(logits[rows, speakers])), "clips": float(len(labelled))}

        return judged

    def _values(self, clip: Clip) -> dict[str, str]:
        """Return a clip's value of each column; "" where it has none."""
        return dict(zip(self.segments, clip.target.split(SLOT_MARK), strict=True))

    def _by_speaker(self, clips: Sequence[Clip]) -> tuple[list[int], tuple[Clip, ...]]:
        """Return the places of the clips that trials may be about, and these with their speaker as target.

        A list of trials says itself who speaks; pairs are made of clips whose speaker is known.
        """
        known = [self._values(clip)[SPEAKER] for clip in clips]
        rows = [row for row, speaker in enumerate(known) if speaker or self.trials is not None]
        return rows, tuple(replace(clips[row], target=known[row]) for row in rows)

    def _filled(self, folder: SpeechFolder, judged: str) -> Iterator[str]:
        """Say how many clips of each split have what, where some have not all.

        Raises:
            DataError: the judged split has no value of a column at all.
        """
        for split, clips in folder.splits.items():
            values = [self._values(clip) for clip in clips]
            counts = {column: sum(bool(each[column]) for each in values) for column in self.segments}
            if self.trials is not None and split == judged:
                counts[SPEAKER] = counts[SPEAKER] or len(clips)  # the list knows who speaks
            empty = [column for column, count in counts.items() if not count]
            if empty and split == judged:
                raise DataError(
                    f"{folder.path}: no clip of {split} has a {empty[0]}, so it cannot be judged: fill that "
                    "column for some clips, judge another split (data.judged), or train two models"
                )
            if min(counts.values()) < len(clips):
                shown = ", ".join(f"{count} with a {column}" for column, count in counts.items())
                yield f"{split}: {len(clips)} clips, {shown}; what is blank gives no loss and is not judged"


def speaker_part(model: PreTrainedModel) -> slice | None:
    """Return the outputs of a joint model that stand for the train speakers; None for any other model."""
    labels = labels_of(model)
    if not has_xvector(model) or not any(label.startswith(f"{SPEAKER}=") for label in labels):
        return None
    return Joint(labels).segments[SPEAKER]


def centred(outputs: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Outputs (B, N) less the mean of each row, which a softmax does not see either."""
    return np.asarray(outputs - outputs.mean(axis=1, keepdims=True))
