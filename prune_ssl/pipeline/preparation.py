"""Prepare a run: read and check data, model, task, teacher and budget of a recipe before any training."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
    SequenceFeatureExtractor,
    TrainingArguments,
    set_seed,
)

from prune_ssl.artifacts import prepare_folder
from prune_ssl.data import SpeechFolder
from prune_ssl.distillation import DistillationConfig
from prune_ssl.distillation.config import MASKING
from prune_ssl.errors import DataError, DistillationError, ModelError, RecipeError
from prune_ssl.gating import PruningConfig
from prune_ssl.models import FAMILIES, is_pruned, load_model
from prune_ssl.models.filterbank import first_convolution, pass_on_, start_as_filterbank_
from prune_ssl.models.origin import hand_on_origin, write_in
from prune_ssl.pipeline.arguments import checked_arguments
from prune_ssl.pipeline.corpora import Corpus, check_batches, check_cache, read_corpus, trainer_arguments
from prune_ssl.pipeline.named_models import load_named
from prune_ssl.pipeline.student import check_losses, new_student
from prune_ssl.profiling import with_latency
from prune_ssl.recipes import DistillationPart, ModelPart, Recipe, config_of, pruning_part
from prune_ssl.selection import allowed_widths, parse_budget, resolve
from prune_ssl.selection.budget import asked_dtype
from prune_ssl.tasks import Task, TaskSettings, task_class
from prune_ssl.tasks.frames import shortest_in_training
from prune_ssl.tasks.masking import require_masks_fit
from prune_ssl.tasks.starting import start_
from prune_ssl.tracing import PruningGraph, Traced, trace
from prune_ssl.training.processes import first_before_others

Say = Callable[[str], None]


@dataclass(frozen=True)
class Ready:
    """A prepared run: everything has been read, checked and made once."""

    folder: Path
    """The output folder."""
    corpus: Corpus
    task: Task
    model: PreTrainedModel
    """The model with the task's head, before any training."""
    extractor: SequenceFeatureExtractor
    graph: PruningGraph
    """The graph of the model before any cut."""
    arguments: Mapping[str, TrainingArguments]
    """The arguments of the trainer of each phase that the recipe has: `dense`, `pruning`, `student`."""
    pruning: PruningConfig | None
    """The pruning config with parsed budgets and measured latency tables. None: nothing is pruned."""
    losses: DistillationConfig | None
    """The losses of distillation. None: there is no distillation."""
    teacher: PreTrainedModel | None
    """The teacher. None: the dense model."""
    spec_augment: bool
    """Whether the model's config had SpecAugment on. It is off for a model without labels, which must match
    all frames."""

    @cached_property
    def shared(self) -> dict[str, Any]:
        """The arguments that all Trainers of the run share, besides model and TrainingArguments."""
        losses = () if self.losses is None else self.losses.losses
        processor = self.task.processor(self.extractor)
        return trainer_arguments(self.corpus, self.task, self.model, processor, losses)


def prepare(recipe: Recipe, overwrite: bool, say: Say, only_check: bool = False) -> Ready:
    """Read and check everything that a recipe names. Nothing is trained or written.

    Args:
        recipe: The recipe.
        overwrite: Whether the output folder may exist.
        say: Called with one line for each finding.
        only_check: Whether the run stops after the checks, so that this machine need not be able to train.

    Raises:
        PruneError: the folder is taken, or training settings, data, model, task, losses or budget do not fit.
    """
    check_cache(recipe)
    folder = recipe.folder if only_check else prepare_folder(recipe.folder, overwrite, as_whole=False)
    arguments = checked_arguments(recipe, only_check, say)
    pruning = None if recipe.pruning is None else pruning_config(recipe)
    set_seed(recipe.seed)
    corpus, settings = read_corpus(recipe, say), _task_settings(recipe)
    loaded, extractor = _make_model(recipe.model, say)
    task = task_class(recipe.task).from_folder(corpus.clips, loaded, settings)
    _report_head(recipe, task, loaded, say)
    model = task.head.put_on(loaded)
    dtype = _written_dtype(recipe.model, pruning)
    if dtype is not None:
        write_in(model, dtype)
    spec_augment = bool(getattr(model.config, "apply_spec_augment", False))
    set_up_(recipe, model)
    if pruning is not None:
        require_dense(recipe.model, model)
    traced = Traced(model, trace(model))
    with first_before_others():  # the other processes read the latency table that the first one measured
        pruning = None if pruning is None else check_budget(traced, pruning, say)
    _check_clips(recipe.name, corpus, task, settings, traced, say)
    starts = recipe.model.name is None and bool(recipe.model.filterbank)
    fresh = {"backbone": starts, "head": model is not loaded}
    if any(fresh.values()):
        start_(model, corpus.clips.splits["train"], task.collator(task.processor(extractor)), **fresh)
    losses, teacher = _losses_and_teacher(recipe, task, model)
    return Ready(
        folder=folder,
        corpus=corpus,
        task=task,
        model=model,
        extractor=extractor,
        graph=traced.graph,
        arguments=arguments,
        pruning=pruning,
        losses=losses,
        teacher=teacher,
        spec_augment=spec_augment,
    )


def _report_head(recipe: Recipe, task: Task, loaded: PreTrainedModel, say: Say) -> None:
    """Print whether the head is kept or new, and a hint if its training may have been forgotten."""
    head = task.head.note(loaded)
    say(f"  head: {head}")
    if recipe.dense is None and head.startswith("NEW"):
        say("  note: the new head is trained only while the model is pruned: give a `dense:` phase")
    prunes = not recipe.only_fine_tunes
    if prunes and recipe.dense is not None and recipe.model.name is not None and task.head.fits(loaded):
        say(
            f"  note: {recipe.model.name} has this task's head: it is trained for {recipe.dense.steps} more "
            "steps before pruning; dense=null prunes it as it is"
        )


def _check_clips(
    name: str, corpus: Corpus, task: Task, settings: TaskSettings, traced: Traced[PreTrainedModel], say: Say
) -> None:
    """Refuse clips that the model, the task or the batches cannot take.

    Raises:
        PruneError: a clip is refused.
    """
    clips, model = corpus.clips, traced.model
    _check_lengths(clips, traced.graph)
    train = clips.splits["train"]
    require_masks_fit(model, train, [shortest_in_training(clip, settings) for clip in train])
    check_batches(name, corpus)
    corpus.judged()
    for note in task.check(clips, model, settings):
        say(f"  note: {note}")


def _losses_and_teacher(
    recipe: Recipe, task: Task, model: PreTrainedModel
) -> tuple[DistillationConfig | None, PreTrainedModel | None]:
    """Return the losses of distillation and the named teacher (None: the dense model).

    Raises:
        DistillationError: losses, teacher and learning model do not fit together.
    """
    losses = distillation_config(recipe.distillation, task)
    if losses is None or recipe.distillation is None:
        return None, None
    name = recipe.distillation.teacher
    teacher = None if name is None else load_model(name, allow_pickle=recipe.model.allow_pickle)
    student = model if recipe.student is None else new_student(recipe.student, model, task)
    check_losses(losses, teacher or copy_of(model), student, recipe.distillation.keep_projections)
    return losses, teacher


def _written_dtype(part: ModelPart, pruning: PruningConfig | None) -> torch.dtype | None:
    """Return the dtype in which the run's models are written. None: the dtype of their source.

    Raises:
        RecipeError: model.dtype and the budget name different dtypes.
    """
    asked = None if part.dtype == "stored" else part.dtype
    counted = None if pruning is None else asked_dtype(pruning.budget)
    if None not in (asked, counted) and asked != counted:
        raise RecipeError(
            f"model.dtype is {asked}, but pruning.budget counts in {counted}: give one of them."
        )
    name = asked or counted
    found: torch.dtype | None = None if name is None else getattr(torch, name)
    return found


def set_up_(recipe: Recipe, model: nn.Module) -> None:
    """Apply the recipe's training settings that the model's config does not hold, in place.

    A fixed filterbank is frozen, the objective gets the recipe's margin, and a model without labels does not
    mask frames unless a loss needs masking.
    """
    whole: Any = model
    if recipe.model.filterbank == "fixed":
        first_convolution(whole).requires_grad_(False)
    if recipe.data.margin is not None:
        whole.get_submodule("objective").margin = recipe.data.margin
    losses = {} if recipe.distillation is None else recipe.distillation.losses
    if recipe.task == "representation" and MASKING not in losses:
        set_masking_(model, False)


def set_masking_(model: nn.Module, masks: bool) -> None:
    """Set in a model's config whether training masks frames (SpecAugment)."""
    config = getattr(model, "config", None)
    if isinstance(config, PreTrainedConfig):
        config.update({"apply_spec_augment": masks})


def _task_settings(recipe: Recipe) -> TaskSettings:
    augment = recipe.data.augment
    return TaskSettings(
        target=recipe.data.target,
        tokenizer=recipe.model.tokenizer,
        decoding=recipe.decoding,
        weights=recipe.data.loss_weights,
        margin=recipe.data.margin,
        trials=recipe.data.trials,
        judged=recipe.data.judged,
        crop_seconds=recipe.data.crop_seconds,
        speed=1.0 if augment is None else max(1.0, *augment.speeds),
    )


def pruning_config(recipe: Recipe) -> PruningConfig:
    """Return the PruningConfig of a recipe's section `pruning`, with parsed budgets."""
    part = pruning_part(recipe)
    *milestones, budget = map(parse_budget, part.budgets or (part.budget,))
    made = config_of(part, PruningConfig, steps=None, budget=budget, milestones=tuple(milestones))
    return made if recipe.distillation is None else made.without_hidden()


def distillation_config(part: DistillationPart | None, task: Task | None = None) -> DistillationConfig | None:
    """Return the DistillationConfig of the section `distillation`, or None without one.

    The groups of logits are those of the task by default.

    Raises:
        DistillationError: a setting is out of range, or does not fit the task.
    """
    if part is None:
        return None
    if task is None:
        return config_of(part, DistillationConfig)
    given = part.logit_groups
    if given not in (None, task.logit_groups):
        raise DistillationError(
            f"distillation.logit_groups: found {list(given or ())}, but the outputs of task "
            f"{task.spec.name!r} are {list(task.logit_groups) if task.logit_groups else 'one group'}: "
            "leave it out."
        )
    return config_of(part, DistillationConfig, logit_groups=task.logit_groups)


def require_dense(part: ModelPart, model: nn.Module) -> None:
    """Refuse a model that has been pruned before, unless the recipe allows it.

    Raises:
        ModelError: the model is refused.
    """
    if is_pruned(model) and not part.allow_pruned:
        raise ModelError(
            f"{part.name} was pruned by prune_ssl already. Give the dense model, or set "
            "model.allow_pruned=true: the budget then refers to the pruned model."
        )


def check_budget(traced: Traced[nn.Module], config: PruningConfig, say: Say) -> PruningConfig:
    """Print the budget and its reachable range, and refuse a budget that cannot be met.

    Returns:
        The config, in which a latency budget has the table of this machine.

    Raises:
        BudgetError: the budget is out of reach.
    """
    graph = traced.graph
    widths = allowed_widths(graph, config.round_to, config.kinds, config.layout)
    budget = with_latency(traced.model, graph, config.budget, config.seconds, say=say)
    for limit in resolve(budget, graph, widths, config.seconds):
        smallest = limit.cost.value({name: options[0] for name, options in widths.items()})
        most, dense = (limit.constraint.shown(amount) for amount in (limit.maximum, limit.dense))
        say(
            f"Budget {limit.constraint}: keep at most {most} of {dense} {limit.constraint.name} "
            f"(reachable: {100 * smallest / limit.dense:.1f}% to 100%; MACs at {config.seconds:g} s)"
        )
    return dataclasses.replace(config, budget=budget)


def architecture(part: ModelPart) -> PreTrainedConfig:
    """Return the config of a recipe's model, made from its section `model`.

    Raises:
        ModelError: the settings do not make a config of the family.
    """
    try:
        made: PreTrainedConfig = FAMILIES[part.family].stock("config")(**part.config)
        return made
    except (TypeError, ValueError, AttributeError, StrictDataclassError) as error:
        words = " ".join(str(error).split())
        raise ModelError(f"model.config does not make a {part.family} config: {words}") from error


def _make_model(part: ModelPart, say: Say) -> tuple[PreTrainedModel, SequenceFeatureExtractor]:
    if part.name is not None:
        return load_named(part, part.name, say)
    config = architecture(part)
    try:
        model = FAMILIES[part.family].stock("bare")(config)
    except (TypeError, ValueError, KeyError, ArithmeticError, RuntimeError) as error:
        raise ModelError(f"model.config does not make a {part.family} model: {error}") from error
    if part.filterbank:
        start_as_filterbank_(model)
    if part.pass_on:
        pass_on_(model)
    return model, FAMILIES[part.family].input.new_extractor(config)


def _check_lengths(clips: SpeechFolder, graph: PruningGraph) -> None:
    shortest = min((clip for split in clips.splits.values() for clip in split), key=lambda clip: clip.seconds)
    if round(shortest.seconds * 16_000) < graph.receptive_field:
        raise DataError(
            f"{shortest.path} has {shortest.seconds:.3f} s of audio, less than the model's receptive field "
            f"of {graph.receptive_field} samples. Remove it or pad it."
        )


def copy_of(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy of a model in evaluation mode that shares no memory with it."""
    copy = type(model)(model.config)
    copy.load_state_dict(model.state_dict())
    hand_on_origin(model, copy)
    copy.eval()
    return copy
