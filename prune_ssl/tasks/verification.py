"""Owns speaker verification: an x-vector head with AM-softmax over the train speakers, judged on trials.

Letters: B clips, E embedding size, K trials. Snyder et al., X-Vectors (ICASSP 2018); Wang et al., Additive
Margin Softmax (2018).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import nn
from transformers import AutoModelForAudioXVector, PreTrainedModel
from typing_extensions import Self

from prune_ssl.data import Clip, SpeechFolder, Trial, all_pairs, find_trials
from prune_ssl.data.files import is_file
from prune_ssl.errors import DataError
from prune_ssl.tasks.frames import frame_counts, shortest_heard
from prune_ssl.tasks.heads import (
    Head,
    kept,
    label_fields,
    labels_in_order,
    new,
    other_labels,
    with_fresh_head,
    wrong_kind,
)
from prune_ssl.tasks.intervals import bootstrap
from prune_ssl.tasks.metrics import EqualErrorRate, MinDetectionCost
from prune_ssl.tasks.task import Array, Judge, Task, TaskSettings, TaskSpec
from prune_ssl.tasks.verification_metrics import equal_error_rate

RESAMPLES = 1_000
"""Bootstrap draws of the EER: each sorts all trials, of which VoxCeleb's lists have tens of thousands."""


@dataclass(frozen=True)
class XVectorHead(Head):
    """Dilated convolutions, statistics over time, an embedding, and AM-softmax over the train speakers.

    Args:
        speakers: The classes of the loss.
    """

    speakers: tuple[str, ...]

    @property
    def config(self) -> dict[str, object]:
        """`num_labels`, `id2label` and `label2id`: the speakers of the loss."""
        return label_fields(self.speakers)

    def fits(self, model: PreTrainedModel) -> bool:
        """Return whether `model` makes speaker embeddings, with these speakers in its loss."""
        return has_xvector(model) and model.config.id2label == self.config["id2label"]

    def note(self, model: PreTrainedModel) -> str:
        """Say what becomes of the head of `model`; with other speakers only its loss is new."""
        if not has_xvector(model):
            return new(wrong_kind(model, "an x-vector head"))
        return (
            kept(model)
            if self.fits(model)
            else kept(model, f"its loss is NEW: {other_labels(model, self.speakers)}")
        )

    def put_on(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return an x-vector model; one that has other speakers in its loss gets a new loss only, in place.

        Raises:
            ModelError: the family has no x-vector model (HuBERT has none in transformers).
        """
        if not has_xvector(model):
            return with_fresh_xvector(model, self.config)
        if not self.fits(model):
            model.config.update(self.config)
            replace_objective_(model, len(self.speakers))
        return model


@dataclass(frozen=True)
class Verification(Task):
    """Is it the same speaker? One embedding per clip; the cosine of two scores a trial.

    Args:
        speakers: Those of train, the classes of the loss.
        trials: Pairs to judge; None: all pairs of the judged clips.

    Raises:
        DataError: fewer than two speakers.
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
        """Take the speakers of train, in the order of `model`'s loss if it has them, and the trial list.

        Raises:
            DataError: train has one speaker only, or the trial list cannot be read.
        """
        known = labels_in_order(folder.labels, model) if model is not None and has_xvector(model) else None
        return cls(known or folder.labels, find_trials(folder.path, (settings or TaskSettings()).trials))

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
            raise DataError(f"speaker {target!r} is not in train, so no class of the loss stands for it")
        return self.speakers.index(target)

    def encode_judged(self, target: str) -> int:
        """Return the class index for evaluation; a new speaker gets 0, as evaluation ignores the loss."""
        return self.speakers.index(target) if target in self.speakers else 0

    def check(
        self, folder: SpeechFolder, model: PreTrainedModel, settings: TaskSettings | None = None
    ) -> Iterator[str]:
        """Refuse clips that the head's convolutions cannot take; say what the trials are.

        Raises:
            DataError: a clip is too short; the judged split has not both kinds of trials, or the list names a
                file that is not there.
        """
        given = settings or TaskSettings()
        require_tdnn_frames(folder, model, given)
        yield from describe_trials(folder, given.judged, self.trials, set(self.speakers))

    def judge(self, clips: Sequence[Clip], model: PreTrainedModel) -> Judge:
        """`eer` with its 95% bootstrap interval, `min_dcf`, `trials`."""
        rates = trial_rates(clips, trials_of(clips, self.trials))
        return lambda prediction: rates(np.asarray(self.slim(prediction.predictions, None)))

    def slim(self, outputs: Array | tuple[Array, ...] | list[Array], labels: object) -> Array:
        """Return the embeddings (B, E), which follow the logits."""
        return outputs[1] if isinstance(outputs, (tuple, list)) else outputs


def has_xvector(model: PreTrainedModel) -> bool:
    """Return whether `model` makes speaker embeddings."""
    return type(model).__name__.endswith("ForXVector")


def with_fresh_xvector(model: PreTrainedModel, overrides: Mapping[str, object]) -> PreTrainedModel:
    """Give `model`'s backbone to a new x-vector model whose head starts at the scale of its own widths.

    transformers starts every layer at a deviation of 0.02: right for 512 channels, but in a narrow head each
    of seven layers makes the signal smaller and nothing is learnt. So: He et al., 2015.

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
    """Give an x-vector model a fresh loss over so many classes, in place; scale and margin stay."""
    old: Any = model.get_submodule("objective")
    new: nn.Module = type(old)(model.config.xvector_output_dim, classes, old.scale, old.margin)
    model.set_submodule("objective", new.to(device=model.device, dtype=model.dtype))


def cosines(embeddings: npt.NDArray[np.floating], pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Cosine of the embeddings (B, E) of each pair of rows (K, 2): (K,)."""
    units = embeddings.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    return np.asarray((units[pairs[:, 0]] * units[pairs[:, 1]]).sum(axis=1))


def tdnn_frames(model: PreTrainedModel) -> int:
    """Frames that the head's dilated convolutions, without padding, need for one output and its deviation."""
    config: Any = model.config
    reach = sum((k - 1) * d for k, d in zip(config.tdnn_kernel, config.tdnn_dilation, strict=True))
    return int(reach) + 2


def pools_padding(model: PreTrainedModel) -> bool:
    """Return whether a clip's embedding depends on the batch that it is in.

    transformers leaves the dilation out of the lengths that an x-vector head pools over, so that the mean and
    deviation of a clip take in padding.
    """
    return has_xvector(model) and max(model.config.tdnn_dilation) > 1


def require_tdnn_frames(folder: SpeechFolder, model: PreTrainedModel, settings: TaskSettings) -> None:
    """Refuse clips that are too short for the x-vector head, in training as they are heard there.

    Raises:
        DataError: one is.
    """
    wanted = tdnn_frames(model)
    for split, clips in folder.splits.items():
        heard = [shortest_heard(clip, settings) for clip in clips] if split == "train" else clips
        for clip, piece, frames in zip(clips, heard, frame_counts(heard, model), strict=True):
            if frames < wanted:
                changed = piece.seconds < clip.seconds
                raise DataError(
                    f"{clip.path}: {piece.seconds:.3f} s{' (sped up or cropped)' if changed else ''} give "
                    f"{frames} frames, the x-vector head needs {wanted}: leave out clips that short"
                    + (", lower data.augment.speeds or raise data.crop_seconds" if changed else "")
                )


def trials_of(clips: Sequence[Clip], trials: Sequence[Trial] | None) -> tuple[Trial, ...]:
    """Return the trials about these clips; without a list, all pairs of them.

    Raises:
        DataError: not both kinds of trials are among them.
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
    """Say what the trials of each split are, and which are of none; the clips' targets are their speakers.

    Raises:
        DataError: the list names a file that is not there; for the judged split, see `trials_of`.
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
            yield f"{split}: not both kinds of trials are about it, so it cannot be judged on"
            continue
        drawn = "drawn pairs" if len(found) < len(clips) * (len(clips) - 1) // 2 else "all pairs"
        kind = drawn if trials is None else "listed"
        same = sum(trial.same for trial in found)
        yield f"{split}: {len(found)} trials ({kind}), {same} of them of one speaker"
        known = {clip.target for clip in clips} & train_speakers
        if known:
            yield f"{split}: {len(known)} of its speakers are in train too"


def _unused_trials(folder: SpeechFolder, trials: Sequence[Trial]) -> Iterator[str]:
    """Count the listed trials that no split is judged on.

    Raises:
        DataError: a file of theirs is not there.
    """
    splits = {split: {clip.path for clip in clips} for split, clips in folder.splits.items()}
    known = set().union(*splits.values())
    sides = {path for trial in trials for path in (trial.first, trial.second)}
    gone = {path for path in sides - known if not is_file(path)}
    if gone:
        count = sum(trial.first in gone or trial.second in gone for trial in trials)
        raise DataError(
            f"verification: {count} of {len(trials)} trials name files that are not there, such as "
            f"{min(gone)}: correct the trial list, or put them there"
        )
    outside = sum(trial.first not in known or trial.second not in known for trial in trials)
    if outside:
        yield (
            f"{outside} of {len(trials)} listed trials have a side that is in no split (not listed there, or "
            "left out): not judged"
        )
    judged = [paths for split, paths in splits.items() if split != "train"]
    within = sum(any(trial.first in paths and trial.second in paths for paths in judged) for trial in trials)
    if within + outside < len(trials):
        rest = len(trials) - within - outside
        yield f"{rest} of {len(trials)} listed trials are about train or across splits: not judged"


def trial_rates(
    clips: Sequence[Clip], trials: Sequence[Trial]
) -> Callable[[npt.NDArray[np.floating]], dict[str, float]]:
    """Return what judges embeddings (B, E) of these clips in this order: EER and minDCF of these trials.

    The interval of the EER draws first clips with all of their trials, as these share what is odd about the
    clip; the speakers stay the same.
    """
    rows = {clip.path: index for index, clip in enumerate(clips)}
    pairs = np.asarray([(rows[trial.first], rows[trial.second]) for trial in trials])
    same = np.asarray([trial.same for trial in trials]).astype(np.int64)
    groups = [np.flatnonzero(pairs[:, 0] == first) for first in np.unique(pairs[:, 0])]

    def rates(embeddings: npt.NDArray[np.floating]) -> dict[str, float]:
        scores = cosines(embeddings, pairs)
        found = {"predictions": scores, "references": same}

        def drawn_rate(drawn: npt.NDArray[np.int64]) -> float:
            chosen = np.concatenate([groups[index] for index in drawn])
            mixed = 0 < same[chosen].sum() < len(chosen)
            return equal_error_rate(scores[chosen], same[chosen]) if mixed else float("nan")

        low, high = bootstrap(drawn_rate, len(groups), resamples=RESAMPLES)
        return {
            **EqualErrorRate().compute(**found),
            "eer_low": low,
            "eer_high": high,
            **MinDetectionCost().compute(**found),
            "trials": float(len(trials)),
        }

    return rates
