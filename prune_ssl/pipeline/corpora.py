"""The corpus of a run: its clips, their augmentation and corruption, and the arguments of its trainers."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from transformers import PreTrainedModel

from prune_ssl.data import (
    Augmentation,
    Clip,
    ClipDataset,
    CorruptedDataset,
    Corruption,
    FolderConfig,
    SpeechFolder,
    StreamConfig,
    StreamedClips,
    check_folder,
    read_stream,
    require_sampled_labels,
)
from prune_ssl.distillation.config import ENHANCEMENT
from prune_ssl.errors import DataError, RecipeError
from prune_ssl.pipeline.two_corpora import read_both
from prune_ssl.recipes import Recipe, config_of
from prune_ssl.recipes.sections import DataPart
from prune_ssl.tasks import Processor, Task, task_class


@dataclass(frozen=True)
class Corpus:
    """The clips of a run with their augmentation and corruption, read and checked once."""

    data: DataPart
    """The section `data` of the recipe."""
    clips: SpeechFolder
    """The checked clips."""
    stream: StreamConfig | None
    """How to stream the corpus. None: it is a folder."""
    augmentation: Augmentation | None
    corruption: Corruption | None

    def judged(self) -> tuple[Clip, ...]:
        """Return the clips of the split on which the recipe is judged.

        Raises:
            DataError: the folder does not have this split.
        """
        return self.clips.splits[self.clips.judged_split(self.data.judged)]

    def training(
        self, task: Task, to_teach_clean: bool = False
    ) -> ClipDataset | CorruptedDataset | StreamedClips:
        """Make the training set with the recipe's augmentation and corruption.

        Args:
            task: Encodes the clips' targets.
            to_teach_clean: Whether the trained model becomes a teacher. If teachers get clean audio, the
                model is trained on clean audio.
        """
        crop = self.data.crop_seconds
        if self.stream is not None:
            return StreamedClips(self.stream, task.encode, augmentation=self.augmentation, crop_seconds=crop)
        clean = ClipDataset(
            self.clips.splits["train"],
            task.encode,
            augmentation=self.augmentation,
            crop_seconds=crop,
            skip_unusable=True,
        )
        part = self.data.corruption
        if part is None or self.corruption is None or (to_teach_clean and part.clean_teacher):
            return clean
        return CorruptedDataset(clean, self.corruption, part.clean_teacher)


def read_corpus(recipe: Recipe, say: Callable[[str], None]) -> Corpus:
    """Check all clips of a recipe and its folders of noise and impulse responses, and print the counts.

    Raises:
        DataError: clips cannot be used (one message names them), a folder has no audio, or the ends of a
            range are swapped.
    """
    data, task = recipe.data, task_class(recipe.task)
    stream = stream_config(data, task)
    clips = _read_clips(data, task, stream)
    counts = ", ".join(f"{len(each)} {split}" for split, each in clips.splits.items())
    target = data.target or task.spec.target or None
    targets = f", {len(clips.labels)} different {target}s in train" if target else ""
    say(f"Data {clips.path}: {counts} clips{targets}")
    for note in clips.notes:
        say(f"  note: {note}")
    return Corpus(data, clips, stream, augmentation_of(data), corruption_of(data))


def _read_clips(data: DataPart, task: type[Task], stream: StreamConfig | None) -> SpeechFolder:
    if stream is not None:
        clips = read_stream(stream)
        if not task.spec.open_targets:
            require_sampled_labels(clips, stream)
        return clips

    def read(path: str, target: str | None) -> SpeechFolder:
        config = FolderConfig(
            target=target,
            max_seconds=data.max_seconds,
            whole_clips=task.spec.whole_clips or data.longer == "leave_out",
            blanks=task.spec.blanks,
            closed_labels=not task.spec.open_targets,
            outside=data.outside,
            cache_limit_bytes=data.cache_limit_bytes,
        )
        return without_short_clips(check_folder(path, config), data.min_seconds)

    whole = data.target or task.spec.target or None
    if data.also is None or whole is None:
        return read(data.path, whole)
    return read_both(data, data.also, whole, read)


def without_short_clips(folder: SpeechFolder, min_seconds: float) -> SpeechFolder:
    """Leave out the train clips that are shorter than `min_seconds`, with a note.

    Raises:
        DataError: all train clips are shorter.
    """
    train = folder.splits["train"]
    kept = tuple(clip for clip in train if clip.seconds >= min_seconds)
    if len(kept) == len(train):
        return folder
    if not kept:
        raise DataError(f"{folder.path}: all clips of train are shorter than {min_seconds:g} s: lower it")
    note = f"{len(train) - len(kept)} clips of train shorter than {min_seconds:g} s left out"
    return replace(folder, splits={**folder.splits, "train": kept}, notes=(*folder.notes, note))


def trainer_arguments(
    corpus: Corpus, task: Task, model: PreTrainedModel, processor: Processor, losses: Collection[str] = ()
) -> dict[str, Any]:
    """Return the arguments that all Trainers of a run share: data, collator, loss and metrics.

    Args:
        corpus: The clips.
        task: Encodes and judges the clips.
        model: The model to judge.
        processor: Turns audio into the model's input.
        losses: The names of the distillation losses.
    """
    made = judging_arguments(corpus.judged(), task, model, processor)
    if ENHANCEMENT in losses:  # the enhancement loss needs clean audio
        made["eval_dataset"] = CorruptedDataset(made["eval_dataset"], Corruption(cases=("clean",)))
    made["data_collator"].lengths = bool(losses)
    return made | {"train_dataset": corpus.training(task)}


def judging_arguments(
    clips: Sequence[Clip], task: Task, model: PreTrainedModel, processor: Processor
) -> dict[str, Any]:
    """Return the arguments of a Trainer that judges a model: data, collator, loss and metrics.

    Args:
        clips: The clips to judge.
        task: Encodes and judges the clips.
        model: The model to judge.
        processor: Turns audio into the model's input.
    """
    # Sorted by length, so that batches have little padding.
    judged = sorted(clips, key=lambda clip: clip.seconds)
    return {
        "eval_dataset": ClipDataset(judged, task.encode_judged),
        "data_collator": task.collator(processor),
        "compute_metrics": task.judge(judged, model),
        "compute_loss_func": task.loss_function(),
        "preprocess_logits_for_metrics": task.slim,
    }


def stream_config(data: DataPart, task: type[Task]) -> StreamConfig | None:
    """Return how to stream a corpus for a task, or None if the corpus is a folder."""
    if data.stream is None:
        return None
    return config_of(
        data.stream,
        StreamConfig,
        path=data.path,
        target=data.target or task.spec.target or None,
        max_seconds=data.max_seconds,
        whole_clips=task.spec.whole_clips,
    )


def augmentation_of(data: DataPart) -> Augmentation | None:
    """Return the augmentation of training clips, or None. If there is a `corruption`, only it adds noise.

    Raises:
        DataError: a folder has no audio, or the ends of a range are swapped.
    """
    if data.augment is None:
        return None
    quiet = {} if data.corruption is None else {"noise_probability": 0.0}
    return config_of(data.augment, Augmentation, **quiet)


def check_cache(recipe: Recipe) -> None:
    """Refuse a cache of the teacher's outputs if the teacher never gets the same clip twice.

    Raises:
        RecipeError: the teacher's clips are changed at random.
    """
    if recipe.distillation is None or recipe.distillation.teacher_cache is None:
        return
    data = recipe.data
    cropped = data.crop_seconds is not None and data.crop_seconds < data.max_seconds
    corrupted = data.corruption is not None and not data.corruption.clean_teacher
    for found, change in (
        (data.augment, "set data.augment: false"),
        (cropped, "leave data.crop_seconds out (data.max_seconds cuts each clip at the same place)"),
        (corrupted, "give the teacher clean audio, data.corruption.clean_teacher: true"),
    ):
        if found:
            raise RecipeError(
                f"{recipe.name}: distillation.teacher_cache needs clips that never change, but here the "
                f"teacher's clips are changed at random: {change}, or leave teacher_cache out."
            )


def check_batches(name: str, corpus: Corpus) -> None:
    """Refuse batches by seconds that are shorter than the longest training clip.

    Args:
        name: The name of the recipe.
        corpus: The clips.

    Raises:
        RecipeError: the longest clip does not fit into a batch.
    """
    seconds = corpus.data.batch_seconds
    if seconds is None:
        return
    longest = max(clip.seconds for clip in corpus.clips.splits["train"])
    longest = min(longest, corpus.data.crop_seconds or inf)
    if longest > seconds:
        raise RecipeError(
            f"{name}: data.batch_seconds is {seconds:g}, but the longest training clip has "
            f"{longest:g} s: give more, or cut clips by data.max_seconds or data.crop_seconds."
        )


def corruption_of(data: DataPart) -> Corruption | None:
    """Read the noise and impulse responses of the section `corruption`, or return None without one.

    Raises:
        DataError: a folder has no audio, or the ends of a range are swapped.
    """
    return None if data.corruption is None else config_of(data.corruption, Corruption)
