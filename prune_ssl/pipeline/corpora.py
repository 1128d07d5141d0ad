"""Owns what the trainers of a recipe are given: its clips, how they are changed, batches, settings."""

from collections.abc import Callable
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
from prune_ssl.errors import RecipeError
from prune_ssl.recipes import Recipe, config_of
from prune_ssl.tasks import Processor, Task, task_class


def read_clips(recipe: Recipe, say: Callable[[str], None]) -> SpeechFolder:
    """Check all clips of a recipe, and say what was found.

    Raises:
        DataError: one message for all that is wrong.
    """
    task = task_class(recipe.task)
    target, stream = recipe.data.target or task.spec.target or None, stream_config(recipe)
    if stream is not None:
        clips = read_stream(stream)
        if not task.spec.open_targets:
            require_sampled_labels(clips, stream)
    else:
        config = FolderConfig(
            target=target,
            max_seconds=recipe.data.max_seconds,
            whole_clips=task.spec.whole_clips,
            blanks=task.spec.blanks,
            closed_labels=not task.spec.open_targets,
            outside=recipe.data.outside,
        )
        clips = check_folder(recipe.data.path, config)
    counts = ", ".join(f"{len(each)} {split}" for split, each in clips.splits.items())
    targets = f", {len(clips.labels)} different {target}s in train" if target else ""
    say(f"Data {clips.path}: {counts} clips{targets}")
    for note in clips.notes:
        say(f"  note: {note}")
    return clips


def trainer_arguments(
    recipe: Recipe,
    clips: SpeechFolder,
    task: Task,
    model: PreTrainedModel,
    processor: Processor,
    corruption: Corruption | None,
) -> dict[str, Any]:
    """Return what every Trainer of a run takes: data, collator, loss and metrics."""
    # By length, so that batches have little padding.
    judged = sorted(judged_clips(recipe, clips), key=lambda clip: clip.seconds)
    evaluated: ClipDataset | CorruptedDataset = ClipDataset(judged, task.encode_judged)
    if recipe.distillation is not None and ENHANCEMENT in recipe.distillation.losses:
        # its loss needs clean audio
        evaluated = CorruptedDataset(evaluated, Corruption(cases=("clean",)))
    collator = task.collator(processor)
    collator.lengths = recipe.distillation is not None
    return {
        "train_dataset": training_clips(recipe, clips, task, corruption),
        "eval_dataset": evaluated,
        "data_collator": collator,
        "compute_metrics": task.judge(judged, model),
        "compute_loss_func": task.loss_function(),
        "preprocess_logits_for_metrics": task.slim,
    }


def training_clips(
    recipe: Recipe, clips: SpeechFolder, task: Task, corruption: Corruption | None, dense: bool = False
) -> ClipDataset | CorruptedDataset | StreamedClips:
    """Make the training set, changed at random and corrupted as the recipe says.

    Args:
        recipe: the recipe.
        clips: its clips.
        task: encodes their targets.
        corruption: `corruption_of(recipe)`.
        dense: for the dense model: where it is to be a teacher of clean audio, it learns from clean audio.
    """
    part, stream = recipe.data.corruption, stream_config(recipe)
    if stream is not None:
        return StreamedClips(
            stream,
            task.encode,
            augmentation=augmentation_of(recipe),
            crop_seconds=recipe.data.crop_seconds,
        )
    clean = ClipDataset(
        clips.splits["train"],
        task.encode,
        augmentation=augmentation_of(recipe),
        crop_seconds=recipe.data.crop_seconds,
        skip_unusable=True,
    )
    if part is None or corruption is None or (dense and part.clean_teacher and recipe.distillation):
        return clean
    return CorruptedDataset(clean, corruption, part.clean_teacher)


def judged_clips(recipe: Recipe, clips: SpeechFolder) -> tuple[Clip, ...]:
    """Return the clips of the split that the recipe is judged on.

    Raises:
        DataError: the folder does not have it.
    """
    return clips.splits[clips.judged_split(recipe.data.judged)]


def stream_config(recipe: Recipe) -> StreamConfig | None:
    """Return how a recipe's corpus is streamed, or None where it is a folder."""
    part = recipe.data.stream
    if part is None:
        return None
    task = task_class(recipe.task)
    return config_of(
        part,
        StreamConfig,
        path=recipe.data.path,
        target=recipe.data.target or task.spec.target or None,
        max_seconds=recipe.data.max_seconds,
        whole_clips=task.spec.whole_clips,
    )


def augmentation_of(recipe: Recipe) -> Augmentation | None:
    """Return the changes of training clips, or None; noise is left to `corruption` where there is one.

    Raises:
        DataError: a folder without audio, or a range that is upside down.
    """
    if recipe.data.augment is None:
        return None
    quiet = {} if recipe.data.corruption is None else {"noise_probability": 0.0}
    return config_of(recipe.data.augment, Augmentation, **quiet)


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


def check_batches(recipe: Recipe, clips: SpeechFolder) -> None:
    """Refuse batches by seconds that the longest training clip does not fit into.

    Raises:
        RecipeError: so it is.
    """
    seconds = recipe.data.batch_seconds
    if seconds is None:
        return
    longest = min(max(clip.seconds for clip in clips.splits["train"]), recipe.data.crop_seconds or inf)
    if longest > seconds:
        raise RecipeError(
            f"{recipe.name}: data.batch_seconds is {seconds:g}, but the longest training clip has "
            f"{longest:g} s: give more, or cut clips by data.max_seconds or data.crop_seconds."
        )


def corruption_of(recipe: Recipe) -> Corruption | None:
    """Read the noise and impulse responses of a recipe, or None where it has none.

    Raises:
        DataError: a folder without audio, or a range that is upside down.
    """
    part = recipe.data.corruption
    return None if part is None else config_of(part, Corruption)
