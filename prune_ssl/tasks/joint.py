"""Joint tasks: one encoder that spots keywords and verifies speakers (Kerpicci et al., 2210.16611).

The model is a stock x-vector model, so any program that loads x-vector models can load it. The outputs of its
last layer are divided among the tasks, as in slot filling. A speaker is verified by the centred outputs of
the train speakers. They hold the part of the embedding that distinguishes speakers, without the words that
the embedding holds as well. The losses are weighted cross entropies (for the speakers as in Snyder et al.,
ICASSP 2018, or AM-softmax). The paper does not describe its heads.
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
from prune_ssl.tasks.differences import ClipJudge
from prune_ssl.tasks.heads import (
    Head,
    labels_in_order,
    labels_of,
    replace_last_layer_,
    require_head,
)
from prune_ssl.tasks.joint_loss import JointLoss
from prune_ssl.tasks.outcomes import Outcomes
from prune_ssl.tasks.slots import Slots
from prune_ssl.tasks.task import Judge, TaskSettings, TaskSpec
from prune_ssl.tasks.verification import (
    XVectorHead,
    describe_trials,
    has_xvector,
    replace_objective_,
    require_tdnn_frames,
    trial_rates,
    trials_of,
    with_fresh_xvector,
)

SPEAKER = "speaker"
"""The column that is verified rather than classified."""


@dataclass(frozen=True)
class JointHead(XVectorHead):
    """An x-vector head whose last layer has a segment of outputs for each column.

    Args:
        labels: "column=value" for every value, column by column.
    """

    replaced: ClassVar[str] = "its last layer"

    def put_on(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return an x-vector model whose embedding and last layer have at least one output for every value.

        Raises:
            ModelError: the family has no x-vector model, or the last layer of the model has too few outputs.
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
        replace_objective_(made, len(self.labels))  # unused, but its size must agree with the config
        return made


@dataclass(frozen=True)
class Joint(Slots):
    """The labels and the speaker of a clip, judged by the accuracy of the labels and the EER of the speakers.

    A clip may lack some of its values, for example if each task has its own corpus. A blank value gives no
    loss and is not judged.

    Args:
        labels: "column=value" for every value, column by column. One column is the speaker.
        weights: The weights of the losses, in the order of the columns. Empty: 1 each.
        trials: The pairs to judge. None: all pairs of the judged clips.
        margin: The margin of AM-softmax over the speakers. None: cross entropy.

    Raises:
        DataError: there is no column of speakers or no other column, or the weights do not fit the columns.

    >>> Joint(("label=no", "label=yes", "speaker=ann", "speaker=bob")).encode("yes|ann")
    [1, 0]
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
    margin: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        columns = tuple(self.segments)
        if SPEAKER not in columns or len(columns) < 2:
            raise DataError(f"joint: wanted the column {SPEAKER!r} and others, got {', '.join(columns)}")
        if self.weights and (len(self.weights) != len(columns) or min(self.weights) <= 0):
            raise DataError(
                f"joint: found the weights {self.weights}, wanted a positive weight for each of "
                f"{', '.join(columns)}"
            )

    @classmethod
    def from_folder(
        cls, folder: SpeechFolder, model: PreTrainedModel | None = None, settings: TaskSettings | None = None
    ) -> Self:
        """Take the values of train and the folder's trial list.

        Raises:
            DataError: the settings have no target such as "label|speaker", or the list cannot be read.
        """
        given = settings or TaskSettings()
        found = super().from_folder(folder, None, given)
        of_model = labels_in_order(found.labels, model) if model is not None and has_xvector(model) else None
        if of_model is not None:
            found = replace(found, labels=of_model)
        trials = find_trials(folder.path, given.trials)
        return replace(found, weights=given.weights, trials=trials, margin=given.margin)

    @classmethod
    def from_model(
        cls, model: PreTrainedModel, folder: SpeechFolder, settings: TaskSettings | None = None
    ) -> Self:
        """Take the columns and values of a model, and the folder's trial list.

        Raises:
            ModelError: the model makes no speaker embeddings.
            DataError: its labels are not those of a joint model, the settings name other columns, or the list
                cannot be read.
        """
        require_head(has_xvector(model), model, "an x-vector head")
        given = settings or TaskSettings()
        return replace(cls._of_labels(model, given), trials=find_trials(folder.path, given.trials))

    @property
    def head(self) -> Head:
        """An x-vector head whose last layer has an output for every value of every column."""
        return JointHead(self.labels)

    def loss_function(self) -> Callable[..., torch.Tensor]:
        """Return the loss: the weighted sum of the cross entropies of the columns.

        With a margin the speakers' is AM-softmax.
        """
        weights = self.weights or (1.0,) * len(self.segments)
        if self.margin is not None:
            return JointLoss(self.segments, weights, SPEAKER, self.margin)
        return self.weighted_loss(weights)

    def check(
        self, folder: SpeechFolder, model: PreTrainedModel, settings: TaskSettings | None = None
    ) -> Iterator[str]:
        """Refuse clips that are too short for the head; yield counts of filled columns and of trials.

        Raises:
            DataError: a clip is too short, the judged split has no value in a column or lacks one kind of
                trials, or the trial list names a missing file.
        """
        given = settings or TaskSettings()
        require_tdnn_frames(folder, model, given)
        yield from self._count_filled(folder, folder.judged_split(given.judged))
        known = {label.partition("=")[2] for label in self.labels[self.segments[SPEAKER]]}
        splits = {split: self._by_speaker(clips)[1] for split, clips in folder.splits.items()}
        yield from describe_trials(replace(folder, splits=splits), given.judged, self.trials, known)

    def judge(self, clips: Sequence[Clip], model: PreTrainedModel) -> Judge:
        """Return a function that gives `accuracy` (all labels but the speaker), `eer` and `min_dcf`.

        `accuracy` and `eer` have 95% bootstrap intervals, over speakers if they are known. A clip without any
        label does not count for the accuracy. A clip without a speaker is in no trial unless the trial list
        has it. `clips` counts the clips with a label.

        Raises:
            DataError: no clip has a label, or one of the two kinds of trials is missing.
        """
        rows, spoken = self._by_speaker(clips)
        rates = trial_rates(spoken, trials_of(spoken, self.trials))
        parts = {column: part for column, part in self.segments.items() if column != SPEAKER}
        speakers = self.segments[SPEAKER]
        targets = [self._values(clip) for clip in clips]
        labelled = [row for row, target in enumerate(targets) if any(target[column] for column in parts)]
        if not labelled:
            raise DataError(f"joint: none of these {len(clips)} clips has a label of {', '.join(parts)}.")

        def measured(prediction: EvalPrediction) -> tuple[dict[str, float], Outcomes]:
            logits = np.asarray(self.slim(prediction.predictions, None))
            right = np.ones(len(labelled), dtype=bool)
            for column, part in parts.items():
                best = part.start + logits[labelled, part].argmax(-1)
                right &= [
                    not targets[row][column] or self.labels[index] == f"{column}={targets[row][column]}"
                    for index, row in zip(best, labelled, strict=True)
                ]
            outcomes = Outcomes.on([clips[row] for row in labelled], "accuracy", right)
            found = outcomes.metrics() | rates(centred(logits[rows, speakers]))[0]
            return found | {"clips": float(len(labelled))}, outcomes

        return ClipJudge(measured)

    def _values(self, clip: Clip) -> dict[str, str]:
        """Return a clip's value of each column, or "" if it has none."""
        return dict(zip(self.segments, clip.target.split(SLOT_MARK), strict=True))

    def _by_speaker(self, clips: Sequence[Clip]) -> tuple[list[int], tuple[Clip, ...]]:
        """Return the indices of the clips that may be in trials, and these clips with the speaker as target.

        With a trial list these are all clips. Without one, pairs are made of the clips with a known speaker.
        """
        known = [self._values(clip)[SPEAKER] for clip in clips]
        rows = [row for row, speaker in enumerate(known) if speaker or self.trials is not None]
        return rows, tuple(replace(clips[row], target=known[row]) for row in rows)

    def _count_filled(self, folder: SpeechFolder, judged: str) -> Iterator[str]:
        """Yield the count of filled values of each column for every split that has blanks.

        Raises:
            DataError: the judged split has no value in a column.
        """
        for split, clips in folder.splits.items():
            values = [self._values(clip) for clip in clips]
            counts = {column: sum(bool(each[column]) for each in values) for column in self.segments}
            if self.trials is not None and split == judged:
                counts[SPEAKER] = counts[SPEAKER] or len(clips)  # the trial list replaces the speakers
            empty = [column for column, count in counts.items() if not count]
            if empty and split == judged:
                raise DataError(
                    f"{folder.path}: no clip of {split} has a {empty[0]}, so it cannot be judged: fill that "
                    "column for some clips, judge another split (data.judged), or train two models"
                )
            if min(counts.values()) < len(clips):
                shown = ", ".join(f"{count} with a {column}" for column, count in counts.items())
                yield f"{split}: {len(clips)} clips, {shown}; a blank gives no loss and is not judged"


def speaker_part(model: PreTrainedModel) -> slice | None:
    """Return the outputs of a joint model for the train speakers, or None if the model is not a joint one."""
    labels = labels_of(model)
    if not has_xvector(model) or not any(label.startswith(f"{SPEAKER}=") for label in labels):
        return None
    return Joint(labels).segments[SPEAKER]


def centred(outputs: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Return outputs (B, N) minus the mean of each row. A softmax does not depend on that mean either.

    >>> centred(np.array([[1.0, 3.0]]))
    array([[-1.,  1.]])
    """
    return np.asarray(outputs - outputs.mean(axis=1, keepdims=True))
