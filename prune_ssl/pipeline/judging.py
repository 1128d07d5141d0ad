"""Prepare to judge a model on the clips of a corpus: its task, and the checked clips of one split."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, SequenceFeatureExtractor

from prune_ssl.data import Clip, FolderConfig, SpeechFolder, check_folder
from prune_ssl.data.files import is_file
from prune_ssl.data.layouts import SPLITS
from prune_ssl.errors import ArtifactError, DataError, ModelError, RecipeError
from prune_ssl.fields_in_help import with_fields
from prune_ssl.models.arguments import as_model, check_types
from prune_ssl.pipeline.corpora import judging_arguments
from prune_ssl.recipes.sections import MAX_SECONDS
from prune_ssl.reporting import Report
from prune_ssl.tasks import BeamSettings, Slots, Task, TaskSettings, task_class
from prune_ssl.tasks.frames import frame_counts
from prune_ssl.tasks.inference import load_extractor
from prune_ssl.tasks.slots import slots_of
from prune_ssl.tasks.solving import solved_task
from prune_ssl.tasks.verification import has_xvector, require_tdnn_frames

BATCH_SIZE = 32
"""Clips of a batch, as in recipes."""
REPORT = "report.json"
"""The report in the folder of a model that a run made. It holds the recipe."""


@with_fields
@dataclass(frozen=True, kw_only=True)
class JudgingConfig:
    """How to judge a model. A value that is None follows from the model (see `evaluate`).

    Raises:
        RecipeError: a value has a wrong type, or a number is not positive.

    >>> JudgingConfig(task="ctc", target="text").batch_size
    32
    """

    task: str | None = None
    """The task, as in recipes."""
    target: str | None = None
    """The column or columns to predict, as in recipes."""
    trials: str | None = None
    """Verification: the trial list, relative to the corpus."""
    max_seconds: float | None = None
    """Longer clips are cut to their first seconds, if the task allows it."""
    decoding: BeamSettings | None = None
    """CTC: also judge beam search with a language model."""
    batch_size: int = BATCH_SIZE
    """Clips of a batch. Padding makes the last digits depend on it."""

    def __post_init__(self) -> None:
        check_types(self, RecipeError)
        for name in ("max_seconds", "batch_size"):
            found = getattr(self, name)
            if found is not None and found <= 0:
                raise RecipeError(f"{name}: found {found}, wanted a number above 0.")


@dataclass(frozen=True)
class Judging:
    """A model with its task, and the checked clips of one split on which to judge it."""

    model: PreTrainedModel
    source: str
    """The folder or hub name of the model."""
    task: Task
    corpus: str
    """The folder of the corpus."""
    split: str
    clips: tuple[Clip, ...]
    """The clips, the shortest first."""
    extractor: SequenceFeatureExtractor
    notes: tuple[str, ...]
    """Notes on the clips, such as counts of resampled ones."""
    config: JudgingConfig
    """The settings, with all that the model tells filled in."""

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of a Trainer that judges the model: data, collator, loss and metrics."""
        made = judging_arguments(self.clips, self.task, self.model, self.task.processor(self.extractor))
        dtype, collate = self.model.dtype, made["data_collator"]
        if dtype == torch.float32:
            return made
        return made | {"data_collator": lambda items: _cast(collate(items), dtype)}


def _cast(batch: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return a batch whose floats have the dtype of the model."""
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in batch.items()}


def prepare_judging(
    model: nn.Module | str | Path,
    corpus: str | Path,
    split: str = "test",
    config: JudgingConfig | None = None,
    say: Callable[[str], None] | None = None,
    verb: str = "evaluate",
) -> Judging:
    """Find the task of a model, and check the clips of one split of a corpus for it.

    Args:
        model: A dense or pruned model with a head, as a folder, a hub name, or what `load_model` returned.
        corpus: The folder of the corpus. Only the split needs to exist.
        split: train, validation or test.
        config: What does not follow from the model.
        say: Called with one line for each finding. None prints nothing.
        verb: The name of the public function, for errors.

    Raises:
        ModelError: the model has no head of the task, or no feature extractor.
        DataError: the corpus or its split cannot be used, or has targets that the model does not predict.
        RecipeError: no task has this name, or the split is unknown.
    """
    if split not in SPLITS:
        raise RecipeError(f"split: found {split!r:.60}, wanted one of {', '.join(SPLITS)}.")
    judged, source = _loaded_from_a_folder(model, verb)
    extractor = load_extractor(source)
    kind, config = _resolved(judged, source, Path(corpus), config or JudgingConfig())
    folder = _read(kind, Path(corpus), split, config)
    settings = TaskSettings(
        target=config.target, trials=config.trials, judged=split, decoding=config.decoding
    )
    task = kind.from_model(judged, folder, settings)
    clips = folder.splits[split]
    _check_clips(task, judged, SpeechFolder(folder.path, {split: clips}, ()), source, split)
    if say is not None:
        say(f"{source}: task {kind.spec.name}, {len(clips)} {split} clips of {corpus}")
        for note in folder.notes:
            say(f"  note: {note}")
    in_order = tuple(sorted(clips, key=lambda clip: clip.seconds))
    return Judging(judged, source, task, str(corpus), split, in_order, extractor, tuple(folder.notes), config)


def training_clips(judging: Judging) -> tuple[Clip, ...]:
    """Return the checked clips of the training split of the same corpus.

    Raises:
        DataError: the split is not there, or its clips cannot be used.
    """
    folder = _read(type(judging.task), Path(judging.corpus), "train", judging.config)
    return folder.splits["train"]


def _loaded_from_a_folder(model: nn.Module | str | Path, verb: str) -> tuple[PreTrainedModel, str]:
    """Return the model and its folder or hub name; refuse one whose feature extractor cannot be found.

    Raises:
        ModelError: it is none of transformers, or was not loaded from a folder.
    """
    judged = as_model(model, verb)
    if not isinstance(judged, PreTrainedModel):
        raise ModelError(f"{verb}: found a {type(judged).__name__}, wanted a model of transformers.")
    source = judged.name_or_path
    if not source:
        raise ModelError(
            f"{verb}: the model was not loaded from a folder, so its feature extractor is not known: save "
            "it with its processor (save_pretrained), and give the folder."
        )
    return judged, source


def _resolved(
    model: PreTrainedModel, source: str, corpus: Path, given: JudgingConfig
) -> tuple[type[Task], JudgingConfig]:
    """Return the kind of task, and the settings in which all that the model tells is filled in.

    Raises:
        ModelError: neither the settings nor the model tell the task.
    """
    recipe = _recipe_of(Path(source))
    made_for = recipe.get("task") if isinstance(recipe.get("task"), str) else None
    name = given.task or made_for
    kind = task_class(str(name)) if name is not None else solved_task(model)
    if kind is None or not kind.spec.target:
        raise ModelError(
            f"{source} is a {type(model).__name__}, whose outputs are not the answers of a task, so there is "
            "nothing to judge: fine-tune it first (a recipe with `dense`), or give a model with a head."
        )
    data = recipe.get("data") if kind.spec.name == made_for else None
    data = data if isinstance(data, dict) else {}
    slots = slots_of(model) if issubclass(kind, Slots) else None
    columns = None if slots is None else "|".join(slots.segments)
    target = given.target or data.get("target") or columns or kind.spec.target
    trials = given.trials or data.get("trials")
    if given.trials is None and not (isinstance(trials, str) and is_file(corpus / trials)):
        trials = None  # the list of another corpus
    most = given.max_seconds or data.get("max_seconds") or MAX_SECONDS
    return kind, replace(given, target=target, trials=trials, max_seconds=most)


def _recipe_of(folder: Path) -> Mapping[str, object]:
    """Return the recipe in the report of a model's folder, or none. Earlier versions wrote none."""
    try:
        return Report.load(folder / REPORT).data.recipe
    except ArtifactError:
        return {}


def _read(kind: type[Task], corpus: Path, split: str, config: JudgingConfig) -> SpeechFolder:
    """Read and check the clips of one split. The clips of the others are only listed, for their targets.

    Raises:
        DataError: the corpus or a clip cannot be used.
    """
    folder = FolderConfig(
        target=config.target,
        required_splits=(split,),
        checked=(split,),
        max_seconds=config.max_seconds,
        whole_clips=kind.spec.whole_clips and split != "train",
        blanks=kind.spec.blanks,
        closed_labels=False,
    )
    return check_folder(corpus, folder)


def _check_clips(task: Task, model: PreTrainedModel, folder: SpeechFolder, source: str, split: str) -> None:
    """Refuse clips that the model or the task cannot take.

    Raises:
        DataError: a clip is too short, or a target is none that the model predicts.
    """
    clips = folder.splits[split]
    for clip, frames in zip(clips, frame_counts(clips, model), strict=True):
        if frames < 1:
            raise DataError(f"{clip.path}: {clip.seconds:.3f} s give the model no frame: leave it out.")
    if has_xvector(model):
        require_tdnn_frames(folder, model, TaskSettings())
    for target in {clip.target: None for clip in clips}:
        try:
            task.encode_judged(target)
        except DataError as error:
            raise DataError(
                f"{folder.path}: {split} does not have the targets of {source}: {error}. Give the column "
                "that the model was trained on (target), or another corpus."
            ) from error
