"""What must hold before any training of a recipe: data, model, task, teacher, and a budget in reach."""

import dataclasses
import re
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
from prune_ssl.distillation import DistillationConfig, Distiller
from prune_ssl.distillation.config import MASKING
from prune_ssl.errors import DataError, DistillationError, ModelError, RecipeError
from prune_ssl.gating import PruningConfig
from prune_ssl.models import FAMILIES, is_pruned, load_model
from prune_ssl.models.filterbank import first_convolution, pass_on_, start_as_filterbank_
from prune_ssl.models.loading import load_config
from prune_ssl.models.origin import hand_on_origin, write_in
from prune_ssl.models.registry import PRUNED_PREFIX
from prune_ssl.pipeline.arguments import checked_arguments
from prune_ssl.pipeline.corpora import Corpus, check_batches, check_cache, read_corpus, trainer_arguments
from prune_ssl.pipeline.student import new_student
from prune_ssl.profiling import with_latency
from prune_ssl.recipes import DistillationPart, ModelPart, Recipe, config_of
from prune_ssl.recipes.sections import PruningPart
from prune_ssl.selection import allowed_widths, parse_budget, resolve
from prune_ssl.selection.budget import asked_dtype
from prune_ssl.tasks import Task, TaskSettings, task_class
from prune_ssl.tasks.frames import shortest_in_training
from prune_ssl.tasks.inference import load_extractor
from prune_ssl.tasks.masking import require_masks_fit
from prune_ssl.tasks.starting import start_
from prune_ssl.tracing import PruningGraph, Traced, trace
from prune_ssl.training.processes import first_before_others

Say = Callable[[str], None]

TRAINING_ONLY = re.compile(r"\w*dropout\w*|layerdrop|apply_spec_augment|mask_(time|feature)_\w+")
"""Fields of a config that change how a model is trained, and nothing of what it is."""
SET_BY_TASKS = ("num_labels", "vocab_size")
"""Fields that follow from the data; a recipe gives them for `--architecture`."""


def check_losses(config: DistillationConfig, teacher: nn.Module, student: nn.Module) -> None:
    """Refuse losses that do not fit teacher and student, before any training."""
    Distiller(config, teacher, student).detach()


@dataclass(frozen=True)
class Ready:
    """What a run starts from, once everything was found to fit; each of its facts is made here, once."""

    folder: Path
    corpus: Corpus
    task: Task
    model: PreTrainedModel
    extractor: SequenceFeatureExtractor
    graph: PruningGraph
    """Of the model as it is, before any cut."""
    arguments: Mapping[str, TrainingArguments]
    """Phase (`dense`, `pruning`, `student`) -> the arguments of its trainer."""
    pruning: PruningConfig | None
    """With the budgets read, and latencies measured; None: the recipe makes a student."""
    losses: DistillationConfig | None
    teacher: PreTrainedModel | None
    """None: the dense model."""
    spec_augment: bool
    """What the model's config says; a model without labels is to match all frames, and has it off."""

    @cached_property
    def shared(self) -> dict[str, Any]:
        """What every Trainer of the run takes beside its model and TrainingArguments."""
        losses = () if self.losses is None else self.losses.losses
        processor = self.task.processor(self.extractor)
        return trainer_arguments(self.corpus, self.task, self.model, processor, losses)


def prepare(recipe: Recipe, overwrite: bool, say: Say, only_check: bool = False) -> Ready:
    """Read and check all that a recipe names; nothing is trained, and nothing written.

    Args:
        recipe: the recipe.
        overwrite: the output folder may exist.
        say: called with one line for each thing found.
        only_check: nothing is to be trained on this machine or written, so it need not be able to.

    Raises:
        PruneError: the folder is taken; training settings, data, model, task, losses or budget do not fit.
    """
    check_cache(recipe)
    folder = recipe.folder if only_check else prepare_folder(recipe.folder, overwrite, as_whole=False)
    arguments = checked_arguments(recipe, only_check, say)
    pruning = None if recipe.pruning is None else pruning_config(recipe.pruning)
    set_seed(recipe.seed)
    corpus, settings = read_corpus(recipe, say), _task_settings(recipe)
    loaded, extractor = _make_model(recipe.model, say)
    task = task_class(recipe.task).from_folder(corpus.clips, loaded, settings)
    _say_head(recipe, task, loaded, say)
    model = task.head.put_on(loaded)
    dtype = _written_dtype(recipe.model, pruning)
    if dtype is not None:
        write_in(model, dtype)
    spec_augment = bool(getattr(model.config, "apply_spec_augment", False))
    set_up_(recipe, model)
    if pruning is not None:
        require_dense(recipe.model, model)
    traced = Traced(model, trace(model))
    with first_before_others():  # who find the latency table that it measured
        pruning = None if pruning is None else check_budget(traced, pruning, say)
    _check_clips(recipe.name, corpus, task, settings, traced, say)
    fresh = {"backbone": recipe.model.name is None and recipe.model.filterbank, "head": model is not loaded}
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


def _say_head(recipe: Recipe, task: Task, loaded: PreTrainedModel, say: Say) -> None:
    """Say which head the task takes, and what may be forgotten of its training."""
    head = task.head.note(loaded)
    say(f"  head: {head}")
    if recipe.dense is None and head.startswith("NEW"):
        say("  note: a new head learns while the model is pruned only: give a `dense:` phase")
    if recipe.dense is not None and recipe.model.name is not None and task.head.fits(loaded):
        say(
            f"  note: {recipe.model.name} has this task's head: it is trained for {recipe.dense.steps} more "
            "steps before pruning; dense=null prunes it as it is"
        )


def _check_clips(
    name: str, corpus: Corpus, task: Task, settings: TaskSettings, traced: Traced[PreTrainedModel], say: Say
) -> None:
    """Refuse clips that the model, the task or the batches cannot take.

    Raises:
        PruneError: so it is.
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
    """Return the losses of distillation and the teacher that is named (None: the dense model).

    Raises:
        DistillationError: they do not fit together, or do not fit the model that learns.
    """
    losses = distillation_config(recipe.distillation, task)
    if losses is None or recipe.distillation is None:
        return None, None
    name = recipe.distillation.teacher
    teacher = None if name is None else load_model(name, allow_pickle=recipe.model.allow_pickle)
    student = model if recipe.student is None else new_student(recipe.student, model, task)
    check_losses(losses, teacher or copy_of(model), student)
    return losses, teacher


def _written_dtype(part: ModelPart, pruning: PruningConfig | None) -> torch.dtype | None:
    """Return the dtype that a run's models are written in; None: that of their source.

    Raises:
        RecipeError: model.dtype and the budget name two.
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
    """Give a model, in place, what the recipe says of its training and its config does not.

    A filterbank stays as it is; an objective has the recipe's margin; a model without labels masks nothing,
    unless it learns from masking.
    """
    whole: Any = model
    if recipe.model.filterbank:
        first_convolution(whole).requires_grad_(False)
    if recipe.data.margin is not None:
        whole.get_submodule("objective").margin = recipe.data.margin
    losses = {} if recipe.distillation is None else recipe.distillation.losses
    if recipe.task == "representation" and MASKING not in losses:
        set_masking_(model, False)


def set_masking_(model: nn.Module, masks: bool) -> None:
    """Say in a model's config whether its training masks frames (SpecAugment)."""
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
        trials=recipe.data.trials,
        judged=recipe.data.judged,
        crop_seconds=recipe.data.crop_seconds,
        speed=1.0 if augment is None else max(1.0, *augment.speeds),
    )


def pruning_config(part: PruningPart) -> PruningConfig:
    """Return the PruningConfig of a recipe's section, with its budgets read."""
    *milestones, budget = map(parse_budget, part.budgets or (part.budget,))
    return config_of(part, PruningConfig, steps=None, budget=budget, milestones=tuple(milestones))


def distillation_config(part: DistillationPart | None, task: Task | None = None) -> DistillationConfig | None:
    """Return the DistillationConfig of a section, or None; its groups of logits are the task's by default.

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
            f"{task.spec.name!r} are {list(task.logit_groups) if task.logit_groups else 'one group'}; "
            "leave it out."
        )
    return config_of(part, DistillationConfig, logit_groups=task.logit_groups)


def require_dense(part: ModelPart, model: nn.Module) -> None:
    """Refuse a model that was pruned already, unless the recipe allows it.

    Raises:
        ModelError: so it is.
    """
    if is_pruned(model) and not part.allow_pruned:
        raise ModelError(
            f"{part.name} was pruned by prune_ssl already. Give the dense model, or set "
            "model.allow_pruned=true: the budget then refers to the pruned model."
        )


def check_budget(traced: Traced[nn.Module], config: PruningConfig, say: Say) -> PruningConfig:
    """Say the budget and its reachable range in numbers, and refuse one that cannot be met.

    Returns:
        The config, in which a latency has what this machine takes.

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


def architecture(part: ModelPart) -> Any:
    """Return the config of a recipe's model, made from its `model` section.

    Raises:
        ModelError: the settings make no config of the family.
    """
    try:
        return FAMILIES[part.family].stock("config")(**part.config)
    except (TypeError, ValueError, AttributeError, StrictDataclassError) as error:
        words = " ".join(str(error).split())
        raise ModelError(f"model.config does not make a {part.family} config: {words}") from error


def _make_model(part: ModelPart, say: Say) -> tuple[PreTrainedModel, SequenceFeatureExtractor]:
    if part.name is not None:
        return _load_named(part, part.name, say)
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


def _load_named(part: ModelPart, name: str, say: Say) -> tuple[PreTrainedModel, SequenceFeatureExtractor]:
    config = load_config(name)
    family = config.model_type.removeprefix(PRUNED_PREFIX)
    if "family" in part.model_fields_set and part.family != family:
        raise ModelError(
            f"model.family is {part.family}, but {name} is a {family} model: give model.family={family}, or "
            "another model.name."
        )
    settings = named_settings(part, config, say)
    loaded = load_model(name, settings, head=part.head, allow_pickle=part.allow_pickle)
    return loaded, load_extractor(name)


def named_settings(part: ModelPart, config: PreTrainedConfig, say: Say) -> dict[str, Any]:
    """Return what of `model.config` applies to a named model, and say what is taken and what is not.

    A recipe that makes its model may be given another start (`model.name=FOLDER`, a sweep, `--architecture`),
    so what only a fresh model could have is no error.

    Args:
        part: names the model.
        config: its own.
        say: called with a line for what is taken, and one for what is left.
    """
    fields = config.to_dict()
    differing = {
        key: value
        for key, value in part.config.items()
        if key not in SET_BY_TASKS and _plain(fields.get(key)) != _plain(value)
    }
    taken = {key: value for key, value in differing.items() if TRAINING_ONLY.fullmatch(key) and key in fields}
    left = [key for key in differing if key not in taken] + ["pass_on"] * part.pass_on
    if taken:
        shown = ", ".join(f"{key}={value}" for key, value in taken.items())
        say(f"  note: {part.name} is trained with model.config of the recipe: {shown}")
    if left:
        say(f"  note: {part.name} has its own architecture and weights; not used: {', '.join(left)}")
    return taken


def _plain(value: Any) -> Any:
    """Return a value as JSON would have it."""
    return list(value) if isinstance(value, tuple) else value


def _check_lengths(clips: SpeechFolder, graph: PruningGraph) -> None:
    shortest = min((clip for split in clips.splits.values() for clip in split), key=lambda clip: clip.seconds)
    if round(shortest.seconds * 16_000) < graph.receptive_field:
        raise DataError(
            f"{shortest.path} has {shortest.seconds:.3f} s of audio, less than the model's receptive field "
            f"of {graph.receptive_field} samples. Remove it or pad it."
        )


def copy_of(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy in evaluation mode that shares nothing with `model`."""
    copy = type(model)(model.config)
    copy.load_state_dict(model.state_dict())
    hand_on_origin(model, copy)
    copy.eval()
    return copy
