"""Owns what the trainers of a recipe are given: its clips, how they are changed, batches, settings."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from math import inf
from pathlib import Path
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
from prune_ssl.errors import RecipeError
from prune_ssl.recipes import Recipe
from prune_ssl.recipes.schema import DataPart
from prune_ssl.tasks import Processor, Task, task_class


@dataclass(frozen=True)
class Corpus:
    """The clips of a run and the changes that are made to them, read and checked once."""

    data: DataPart
    clips: SpeechFolder
    stream: StreamConfig | None
    """How clips are streamed; None: they are in a folder."""
    augmentation: Augmentation | None
    corruption: Corruption | None

    def judged(self) -> tuple[Clip, ...]:
        """Return the clips of the split that the recipe is judged on.

        Raises:
            DataError: the folder does not have it.
        """
        return self.clips.splits[self.clips.judged_split(self.data.judged)]

    def training(
        self, task: Task, to_teach_clean: bool = False
    ) -> ClipDataset | CorruptedDataset | StreamedClips:
        """Make the training set, changed at random and corrupted as the recipe says.

        Args:
            task: encodes the clips' targets.
            to_teach_clean: the model that learns becomes a teacher: where that is to hear clean audio, it
                learns from clean audio.
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
    """Check all clips of a recipe and the folders of noise and rooms, and say what was found.

    Raises:
        DataError: one message for all that is wrong with the clips; a folder without audio, or a range that
            is upside down.
    """
    data, task = recipe.data, task_class(recipe.task)
    stream = stream_config(data, task)
    clips = _read_clips(data, task, stream)
    counts = ", ".join(f"{len(each)} {split}" for split, each in clips.splits.items())
    target = data.target or task.target or None
    targets = f", {len(clips.labels)} different {target}s in train" if target else ""
    say(f"Data {clips.path}: {counts} clips{targets}")
    for note in clips.notes:
        say(f"  note: {note}")
    return Corpus(data, clips, stream, augmentation_of(data), corruption_of(data))


def _read_clips(data: DataPart, task: type[Task], stream: StreamConfig | None) -> SpeechFolder:
    if stream is not None:
        clips = read_stream(stream)
        if not task.open_targets:
            require_sampled_labels(clips, stream)
        return clips
    config = FolderConfig(
        target=data.target or task.target or None,
        max_seconds=data.max_seconds,
        whole_clips=task.whole_clips,
        blanks=task.blanks,
        closed_labels=not task.open_targets,
        outside=data.outside,
    )
    return check_folder(data.path, config)


def trainer_arguments(
    corpus: Corpus, task: Task, model: PreTrainedModel, processor: Processor, losses: Collection[str] = ()
) -> dict[str, Any]:
    """Return what every Trainer of a run takes: data, collator, loss and metrics.

    Args:
        corpus: the clips.
        task: encodes and judges them.
        model: it is judged.
        processor: makes the model's input of audio.
        losses: names of those of distillation.
    """
    # By length, so that batches have little padding.
    judged = sorted(corpus.judged(), key=lambda clip: clip.seconds)
    evaluated: ClipDataset | CorruptedDataset = ClipDataset(judged, task.encode_judged)
    if ENHANCEMENT in losses:  # its loss needs clean audio
        evaluated = CorruptedDataset(evaluated, Corruption(cases=("clean",)))
    collator = task.collator(processor)
    collator.lengths = bool(losses)
    return {
        "train_dataset": corpus.training(task),
        "eval_dataset": evaluated,
        "data_collator": collator,
        "compute_metrics": task.judge(judged, model),
        "compute_loss_func": task.loss_function(),
        "preprocess_logits_for_metrics": task.slim,
    }


def stream_config(data: DataPart, task: type[Task]) -> StreamConfig | None:
    """Return how a corpus is streamed for a task, or None where it is a folder."""
    if data.stream is None:
        return None
    return StreamConfig(
        path=data.path,
        target=data.target or task.target or None,
        max_seconds=data.max_seconds,
        whole_clips=task.whole_clips,
        **data.stream.model_dump(),
    )


def augmentation_of(data: DataPart) -> Augmentation | None:
    """Return the changes of training clips, or None; noise is left to `corruption` where there is one.

    Raises:
        DataError: a folder without audio, or a range that is upside down.
    """
    if data.augment is None:
        return None
    settings = data.augment.model_dump()
    for name in ("noise", "rirs"):
        settings[name] = None if settings[name] is None else Path(settings[name])
    if data.corruption is not None:
        settings["noise_probability"] = 0.0
    return Augmentation(**settings)


def check_cache(recipe: Recipe) -> None:
    """Refuse a cache of a teacher that never hears a clip twice.

    Raises:
        RecipeError: it hears clips that are changed at random.
    """
    if recipe.distillation is None or recipe.distillation.teacher_cache is None:
        return
    data = recipe.data
    cropped = data.crop_seconds is not None and data.crop_seconds < data.max_seconds
    corrupted = data.corruption is not None and not data.corruption.clean_teacher
    for found, change in (
        (data.augment, "set data.augment: false"),
        (cropped, "leave data.crop_seconds out (data.max_seconds cuts each clip at the same place)"),
        (corrupted, "let it hear clean audio, data.corruption.clean_teacher: true"),
    ):
        if found:
            raise RecipeError(
                f"{recipe.name}: distillation.teacher_cache keeps answers for clips that come back "
                f"unchanged, and here the teacher hears each changed at random: {change}, or leave "
                "teacher_cache out."
            )


def check_batches(name: str, corpus: Corpus) -> None:
    """Refuse batches by seconds that the longest training clip does not fit into.

    Args:
        name: of the recipe.
        corpus: its clips.

    Raises:
        RecipeError: so it is.
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
    """Read the noise and impulse responses of a section, or None where it has none.

    Raises:
        DataError: a folder without audio, or a range that is upside down.
    """
    part = data.corruption
    if part is None:
        return None
    settings = part.model_dump(exclude={"clean_teacher"})
    for name in ("noise", "rirs"):
        settings[name] = None if settings[name] is None else Path(settings[name])
    return Corruption(**settings)
