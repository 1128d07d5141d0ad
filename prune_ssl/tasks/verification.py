"""Speaker verification: an x-vector head with AM-softmax over the train speakers, judged on trials.

Letters: B clips, E embedding size, K trials. Snyder et al., X-Vectors (ICASSP 2018); Wang et al., Additive
Margin Softmax (2018).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from torch import nn
from transformers import AutoModelForAudioXVector, EvalPrediction, PreTrainedModel
from typing_extensions import Self

from prune_ssl.data import Clip, SpeechFolder, Trial, all_pairs, find_trials
from prune_ssl.data.files import is_file
from prune_ssl.errors import DataError
from prune_ssl.tasks.differences import ClipJudge
from prune_ssl.tasks.frames import frame_counts, shortest_in_training
from prune_ssl.tasks.heads import (
    Head,
    LabelledHead,
    kept,
    labels_in_order,
    labels_of,
    new,
    other_labels,
    require_head,
    with_fresh_head,
    wrong_kind,
)
from prune_ssl.tasks.task import Array, Judge, Task, TaskSettings, TaskSpec
from prune_ssl.tasks.trial_outcomes import MOST_KEPT, ScoredTrials, TrialOutcomes
from prune_ssl.tasks.verification_metrics import min_detection_cost


@dataclass(frozen=True)
class XVectorHead(LabelledHead):
    """Dilated convolutions, statistics over time, an embedding, and AM-softmax over the train speakers.

    Args:
        labels: The speakers, which are the classes of the loss.
    """

    class_suffix: ClassVar[str] = "ForXVector"
    replaced: ClassVar[str] = "its loss"
    """The part that a model with other labels gets new."""

    def note(self, model: PreTrainedModel) -> str:
        """Return whether the head of `model` is kept or new. With other labels only `replaced` is new."""
        if not has_xvector(model):
            return new(wrong_kind(model, "an x-vector head"))
        return (
            kept(model)
            if self.fits(model)
            else kept(model, f"{self.replaced} is NEW: {other_labels(model, self.labels)}")
        )

    def put_on(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return an x-vector model. A model with other speakers gets only a new loss, in place.

        Raises:
            ModelError: the family has no x-vector model (HuBERT has none in transformers).
        """
        if not has_xvector(model):
            return with_fresh_xvector(model, self.config)
        if not self.fits(model):
            model.config.update(self.config)
            replace_objective_(model, len(self.labels))
        return model


@dataclass(frozen=True)
class Verification(Task):
    """Whether two clips have the same speaker: each clip gives an embedding, and cosines score the trials.

    Args:
        speakers: The speakers of train, which are the classes of the loss.
        trials: The pairs to judge. None: all pairs of the judged clips.

    Raises:
        DataError: there are fewer than two speakers.

    >>> Verification(("ann", "bob")).encode("bob")
    1
    """

    spec: ClassVar[TaskSpec] = TaskSpec(
        name="speaker_verification",
        target="speaker",
        metric="eer",
        greater_is_better=False,
        auto_class=AutoModelForAudioXVector,
        open_targets=True,
        loss_is_judged=False,
    )

    speakers: tuple[str, ...]
    trials: tuple[Trial, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.speakers) < 2:
            raise DataError(f"Verification: two or more speakers wanted in train, got {list(self.speakers)}")

    @classmethod
    def from_folder(
        cls, folder: SpeechFolder, model: PreTrainedModel | None = None, settings: TaskSettings | None = None
    ) -> Self:
        """Take the speakers of train, in the order of `model`'s loss if it has the same, and the trial list.

        Raises:
            DataError: train has only one speaker, or the trial list cannot be read.
        """
        known = labels_in_order(folder.labels, model) if model is not None and has_xvector(model) else None
        return cls(known or folder.labels, find_trials(folder.path, (settings or TaskSettings()).trials))

    @classmethod
    def from_model(
        cls, model: PreTrainedModel, folder: SpeechFolder, settings: TaskSettings | None = None
    ) -> Self:
        """Take the folder's trial list. The speakers that a model was trained on do not matter for trials.

        Raises:
            ModelError: the model makes no speaker embeddings.
            DataError: the trial list cannot be read.
        """
        require_head(has_xvector(model), model, "an x-vector head")
        return cls(labels_of(model), find_trials(folder.path, (settings or TaskSettings()).trials))

    @property
    def head(self) -> Head:
        """An x-vector head with the speakers of train in its loss."""
        return XVectorHead(self.speakers)

    def encode(self, target: str) -> int:
        """Return the class index of a speaker of train.

        Raises:
            DataError: train does not have this speaker.
        """
        if target not in self.speakers:
            raise DataError(f"speaker {target!r} is not in train, so the loss has no class for this speaker")
        return self.speakers.index(target)

    def encode_judged(self, target: str) -> int:
        """Return the class index for evaluation. A new speaker gets 0, as evaluation ignores the loss."""
        return self.speakers.index(target) if target in self.speakers else 0

    def check(
        self, folder: SpeechFolder, model: PreTrainedModel, settings: TaskSettings | None = None
    ) -> Iterator[str]:
        """Refuse clips that are too short for the head's convolutions; yield the counts of trials.

        Raises:
            DataError: a clip is too short, the judged split lacks one kind of trials, or the trial list names
                a missing file.
        """
        given = settings or TaskSettings()
        require_tdnn_frames(folder, model, given)
        yield from describe_trials(folder, given.judged, self.trials, set(self.speakers))

    def judge(self, clips: Sequence[Clip], model: PreTrainedModel) -> Judge:
        """Return a function that gives `eer` with its 95% bootstrap interval, `min_dcf` and `trials`."""
        rates = trial_rates(clips, trials_of(clips, self.trials))

        def measured(prediction: EvalPrediction) -> tuple[dict[str, float], TrialOutcomes | None]:
            found, outcomes = rates(np.asarray(self.slim(prediction.predictions, None)))
            return found, outcomes if found["trials"] <= MOST_KEPT else None

        return ClipJudge(measured)

    def slim(self, outputs: Array | tuple[Array, ...] | list[Array], labels: object) -> Array:
        """Return the embeddings (B, E), which follow the logits."""
        return outputs[1] if isinstance(outputs, (tuple, list)) else outputs


def has_xvector(model: PreTrainedModel) -> bool:
    """Return whether `model` makes speaker embeddings."""
    return type(model).__name__.endswith("ForXVector")


def with_fresh_xvector(model: PreTrainedModel, overrides: Mapping[str, object]) -> PreTrainedModel:
    """Return a new x-vector model on `model`'s backbone, whose head is initialised as in He et al., 2015.

    transformers initialises every layer with a deviation of 0.02. That suits 512 channels. In a narrow head
    each of the seven layers would shrink the signal, and the head would learn nothing.

    Raises:
        ModelError: the family has no x-vector model.
    """
    made = with_fresh_head(model, AutoModelForAudioXVector, overrides, "x-vector")
    linears = [
        made.get_submodule("projector"),
        *(layer.get_submodule("kernel") for layer in made.get_submodule("tdnn").children()),
        made.get_submodule("feature_extractor"),
        made.get_submodule("classifier"),
    ]
    for linear in linears:
        assert isinstance(linear, nn.Linear)
        nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
    return made


def replace_objective_(model: PreTrainedModel, classes: int) -> None:
    """Give an x-vector model a fresh loss over so many classes, in place. Scale and margin stay."""
    old = model.get_submodule("objective")
    fresh = type(old)(model.config.xvector_output_dim, classes, old.scale, old.margin)
    model.set_submodule("objective", fresh.to(device=model.device, dtype=model.dtype))


def cosines(embeddings: npt.NDArray[np.floating], pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the cosines (K,) of the embeddings (B, E) at each pair of rows (K, 2).

    >>> cosines(np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]), np.array([[0, 1], [0, 2]]))
    array([0., 1.])
    """
    units = embeddings.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    return np.asarray((units[pairs[:, 0]] * units[pairs[:, 1]]).sum(axis=1))


def tdnn_frames(model: PreTrainedModel) -> int:
    """Return the number of frames that the head's dilated convolutions need.

    They have no padding, and the statistics over time need two outputs.
    """
    config = model.config
    reach = sum((k - 1) * d for k, d in zip(config.tdnn_kernel, config.tdnn_dilation, strict=True))
    return int(reach) + 2


def pools_padding(model: PreTrainedModel) -> bool:
    """Return whether a clip's embedding depends on the other clips of its batch.

    transformers ignores the dilation when it computes the lengths over which an x-vector head pools. The mean
    and the deviation of a clip then include padding.
    """
    return has_xvector(model) and max(model.config.tdnn_dilation) > 1


def require_tdnn_frames(folder: SpeechFolder, model: PreTrainedModel, settings: TaskSettings) -> None:
    """Refuse clips that are too short for the x-vector head. Train clips count as augmentation may cut them.

    Raises:
        DataError: a clip is too short.
    """
    wanted = tdnn_frames(model)
    for split, clips in folder.splits.items():
        pieces = [shortest_in_training(clip, settings) for clip in clips] if split == "train" else clips
        for clip, piece, frames in zip(clips, pieces, frame_counts(pieces, model), strict=True):
            if frames < wanted:
                changed = piece.seconds < clip.seconds
                raise DataError(
                    f"{clip.path}: {piece.seconds:.3f} s{' (sped up or cropped)' if changed else ''} give "
                    f"{frames} frames, the x-vector head needs {wanted}: leave out clips that short"
                    + (", lower data.augment.speeds or raise data.crop_seconds" if changed else "")
                )


def trials_of(clips: Sequence[Clip], trials: Sequence[Trial] | None) -> tuple[Trial, ...]:
    """Return the trials between these clips. Without a trial list, return all pairs of the clips.

    Raises:
        DataError: one of the two kinds of trials is missing.
    """
    paths = {clip.path for clip in clips}
    given = all_pairs(clips) if trials is None else trials
    found = tuple(trial for trial in given if trial.first in paths and trial.second in paths)
    if len({trial.same for trial in found}) < 2:
        raise DataError(
            f"verification: {len(found)} of {len(given)} trials are about these {len(clips)} clips, "
            "wanted some of one speaker and some of two: check the file names in the trial list"
        )
    return found


def describe_trials(
    folder: SpeechFolder, judged: str | None, trials: Sequence[Trial] | None, train_speakers: set[str]
) -> Iterator[str]:
    """Yield the counts of the trials of each split, and of the trials in no split.

    The targets of the clips are their speakers.

    Raises:
        DataError: the list names a missing file, or the judged split lacks one kind of trials.
    """
    if trials is not None:
        yield from _unused_trials(folder, trials)
    judged = folder.judged_split(judged)
    for split, clips in folder.splits.items():
        if split == "train":
            continue
        try:
            found = trials_of(clips, trials)
        except DataError:
            if split == judged:
                raise
            yield f"{split}: it lacks one of the two kinds of trials, so it cannot be judged on"
            continue
        drawn = "drawn pairs" if len(found) < len(clips) * (len(clips) - 1) // 2 else "all pairs"
        kind = drawn if trials is None else "listed"
        same = sum(trial.same for trial in found)
        yield f"{split}: {len(found)} trials ({kind}), {same} of them of one speaker"
        known = {clip.target for clip in clips} & train_speakers
        if known:
            yield f"{split}: {len(known)} of its speakers are in train too"


def _unused_trials(folder: SpeechFolder, trials: Sequence[Trial]) -> Iterator[str]:
    """Yield the counts of the listed trials that are never judged.

    Raises:
        DataError: a trial names a missing file.
    """
    splits = {split: {clip.path for clip in clips} for split, clips in folder.splits.items()}
    known = set().union(*splits.values())
    sides = {path for trial in trials for path in (trial.first, trial.second)}
    gone = {path for path in sides - known if not is_file(path)}
    if gone:
        count = sum(trial.first in gone or trial.second in gone for trial in trials)
        raise DataError(
            f"verification: {count} of {len(trials)} trials name files that do not exist, such as "
            f"{min(gone)}: correct the trial list, or add these files"
        )
    outside = sum(trial.first not in known or trial.second not in known for trial in trials)
    if outside:
        yield (f"{outside} of {len(trials)} listed trials are not judged: one of their clips is in no split")
    judged = [paths for split, paths in splits.items() if split != "train"]
    within = sum(any(trial.first in paths and trial.second in paths for paths in judged) for trial in trials)
    if within + outside < len(trials):
        rest = len(trials) - within - outside
        yield f"{rest} of {len(trials)} listed trials are not judged: they are about train or two splits"


def trial_rates(
    clips: Sequence[Clip], trials: Sequence[Trial]
) -> Callable[[npt.NDArray[np.floating]], tuple[dict[str, float], TrialOutcomes]]:
    """Return a function from the embeddings (B, E) of these clips, in this order, to EER and minDCF.

    The EER has a bootstrap interval (`TrialOutcomes`). The function also returns the outcomes of the trials.
    """
    scored = ScoredTrials(clips, trials)

    def rates(embeddings: npt.NDArray[np.floating]) -> tuple[dict[str, float], TrialOutcomes]:
        scores = cosines(embeddings, scored.pairs)
        outcomes = scored.outcomes(scores)
        found = {
            **outcomes.metrics(),
            "min_dcf": min_detection_cost(scores, scored.same),
            "trials": float(len(trials)),
        }
        return found, outcomes

    return rates
