"""The pipeline: runs a recipe from audio to a smaller model and its report."""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
import yaml
from torch import nn
from transformers import (
    PreTrainedModel,
    TrainingArguments,
    Wav2Vec2FeatureExtractor,
    set_seed,
)

from prune_ssl.artifacts import load_pretrained, prepare_folder, save_pretrained
from prune_ssl.data import Augmentation, Clip, ClipDataset, FolderConfig, SpeechFolder, check_folder
from prune_ssl.distillation import DistillationConfig, Distiller
from prune_ssl.errors import ArtifactError, DataError, ModelError
from prune_ssl.gating import Plan, PruningConfig
from prune_ssl.measuring import measure_interleaved
from prune_ssl.models import FAMILIES, is_pruned, load_model
from prune_ssl.models.filterbank import first_convolution, pass_on_, start_as_filterbank_
from prune_ssl.profiling import with_latency
from prune_ssl.recipes import Recipe, TrainPart, load_recipe
from prune_ssl.report import Report, report
from prune_ssl.selection import Limit, allowed_widths, resolve
from prune_ssl.smoke import smoke_version
from prune_ssl.tasks import Processor, Task, TaskSettings, task_class
from prune_ssl.tasks.inference import load_extractor
from prune_ssl.tasks.starting import start_
from prune_ssl.tasks.verification import has_xvector
from prune_ssl.tracing import PruningGraph, trace
from prune_ssl.training import DistillationTrainer, Finished, PruningTrainer
from prune_ssl.training.margins import MarginRamp
from prune_ssl.training.progress import use_budget_progress

DENSE_TRAINING = "dense-training"


@dataclass(frozen=True)
class Outcome:
    """What a run made."""

    model: nn.Module
    plan: Plan
    report: Report
    folder: Path
    model_folder: Path
    report_html: Path


def run(
    recipe: Recipe, overwrite: bool = False, say: Callable[[str], None] = print, resume: bool = False
) -> Outcome:
    """Run a recipe: check everything, train dense (if asked), prune, recover, save, measure, report.

    All checks come before any training, and nothing is overwritten unless `overwrite`. A progressive run
    saves and reports a model for each of its budgets; the outcome is that of the last.

    Args:
        recipe: what to do.
        overwrite: replace an existing output folder.
        say: called with one line at each step.
        resume: go on in the output folder of the same recipe, if it is there; with `checkpoint_steps` from
            the last checkpoint of the phase that was interrupted.

    Raises:
        PruneError: the model, data, budget or output folder cannot be used; nothing was trained.
    """
    recipe = smoke_version(recipe) if recipe.smoke else recipe
    begun = resume and _is_begun(recipe)
    ready = _prepare(recipe, overwrite or begun, say)
    folder, clips, task = ready.folder, ready.clips, ready.task
    model, processor = ready.model, task.processor(ready.extractor)
    if not begun:
        _begin(recipe, folder)
    shared = _trainer_arguments(recipe, clips, task, model, processor)
    if recipe.dense is not None and begun and (folder / "dense").is_dir():
        model.load_state_dict(load_pretrained(folder / "dense").state_dict())
    elif recipe.dense is not None:
        say(f"Training the dense model: {recipe.dense.steps} steps")
        _train_dense(model, recipe.dense, recipe, shared, begun)
        save_pretrained(model, folder / "dense", processor=processor)
        shutil.rmtree(folder / DENSE_TRAINING, ignore_errors=True)
    dense = _copy(model)
    say(f"Pruning to {recipe.pruning.budget}: {recipe.pruning.steps} steps, then the cut and recovery")
    trainer = PruningTrainer(
        model=model,
        args=_arguments(recipe, recipe.pruning.steps, recipe.pruning.learning_rate, folder / "pruning"),
        pruning=pruning_config(recipe),
        distillation=distillation_config(recipe),
        teacher=ready.teacher,
        **shared,
    )
    trainer.train(resume_from_checkpoint=begun and recipe.pruning.method == "gates")
    if not recipe.pruning.budgets:
        small = trainer.finalize()
        assert trainer.plan is not None
        made = Finished(recipe.pruning.budget, small, trainer.plan, trainer.results)
        outcome = _hand_over(recipe, made, dense, trainer, task, processor, "", say)
    else:
        for made in trainer.finalize_all():
            last = made.model is trainer.model
            name = "" if last else "-" + re.sub(r"\W+", "-", made.budget).strip("-")
            outcome = _hand_over(recipe, made, dense, trainer, task, processor, name, say)
    shutil.rmtree(folder / "pruning", ignore_errors=True)  # checkpoints; the models are handed over
    return outcome


def _hand_over(
    recipe: Recipe,
    made: Finished,
    dense: nn.Module,
    trainer: PruningTrainer,
    task: Task,
    processor: Any,
    suffix: str,
    say: Callable[[str], None],
) -> Outcome:
    """Save one model of a run, measure it, and write its reports."""
    folder = recipe.folder
    model_folder = save_pretrained(
        made.model, folder / f"model{suffix}", overwrite=True, processor=processor, plan=made.plan
    )
    say(f"Measuring the model of {made.budget}")
    written = _report(recipe, made, dense, trainer, model_folder, task)
    for kind in ("json", "md", "html"):
        written.save(folder / f"report{suffix}.{kind}")
    shutil.copy(folder / f"report{suffix}.json", model_folder / "report.json")
    for line in latency_lines(trainer.gates.limits, made.model, dense):
        say(line)
    return Outcome(made.model, made.plan, written, folder, model_folder, folder / f"report{suffix}.html")


def latency_lines(limits: Sequence[Limit], small: nn.Module, dense: nn.Module) -> list[str]:
    """Measure the latencies that a budget constrains, small beside dense, and say how they compare."""
    lines = []
    for limit in limits:
        at = limit.constraint.at
        if limit.constraint.metric != "latency" or at.seconds is None:
            continue
        found = measure_interleaved(
            {"dense": dense, "small": small}, at.seconds, at.threads, min_iterations=15
        )
        times = {name: latency[0].median_ms for name, latency in found.items()}
        lines.append(
            f"Latency of {at.seconds:g} s, threads={at.threads}: {times['small']:.1f} ms, dense "
            f"{times['dense']:.1f} ms ({100 * times['small'] / times['dense']:.1f}%); asked: "
            f"{limit.constraint.shown(limit.maximum)} ({100 * limit.fraction:.1f}%)"
        )
    return lines


def _is_begun(recipe: Recipe) -> bool:
    """Whether the output folder is that of an earlier run of this recipe.

    Raises:
        ArtifactError: it is that of another one.
    """
    path = recipe.folder / "recipe.yaml"
    if not path.is_file():
        return False
    if load_recipe(path) != recipe:
        raise ArtifactError(f"{path} differs from this recipe; give another output folder, or --overwrite.")
    return True


def _begin(recipe: Recipe, folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump(json.loads(recipe.model_dump_json()), sort_keys=False))


def dry_run(recipe: Recipe, overwrite: bool = False, say: Callable[[str], None] = print) -> None:
    """Do all checks of a run, print the budget and its reachable range, and stop.

    Raises:
        PruneError: as `run` would, before any training.
    """
    _prepare(smoke_version(recipe) if recipe.smoke else recipe, overwrite, say)
    say("Dry run: all checks passed, nothing was trained or written.")


def plan_architecture(recipe: Recipe, say: Callable[[str], None] = print) -> PruningGraph:
    """Check a recipe against its architecture on the meta device: no weights, no data, no network.

    Prints the dense cost, and the budget with its reachable range. The head has the size that the config
    says, not that of any data.

    Raises:
        ModelError: the config makes no model of the family. BudgetError: malformed or out of reach.
    """
    config = _architecture(recipe)
    with torch.device("meta"):
        model = task_class(recipe.task).auto_class.from_config(config)
    seconds = recipe.pruning.seconds
    cost = trace(model).cost(seconds=seconds)
    say(f"{type(model).__name__}: {cost.params:,} parameters, {cost.macs:,} MACs at {seconds:g} s")
    return check_budget(model, recipe, say)


@dataclass(frozen=True)
class _Ready:
    folder: Path
    clips: SpeechFolder
    task: Task
    model: PreTrainedModel
    extractor: Wav2Vec2FeatureExtractor
    teacher: PreTrainedModel | None


def _prepare(recipe: Recipe, overwrite: bool, say: Callable[[str], None]) -> _Ready:
    folder = prepare_folder(recipe.folder, overwrite)
    set_seed(recipe.seed)
    clips = _read_data(recipe, say)
    loaded, extractor = _make_model(recipe)
    settings = TaskSettings(
        target=recipe.data.target,
        tokenizer=recipe.model.tokenizer,
        weights=recipe.data.loss_weights,
        trials=recipe.data.trials,
    )
    task = task_class(recipe.task).from_folder(clips, loaded, settings)
    if recipe.dense is None and not task.has_head(loaded):
        say(
            "  note: the model's head does not fit this task's targets and starts anew: give a `dense:` phase"
        )
    model = task.with_head(loaded)
    if recipe.model.filterbank:
        first_convolution(model).requires_grad_(False)
    if recipe.data.margin is not None and has_xvector(model):
        model.get_submodule("objective").margin = recipe.data.margin  # type: ignore[assignment]
    graph = check_budget(model, recipe, say)
    _check_lengths(clips, graph)
    judged_clips(recipe, clips)
    for note in task.check(clips, model):
        say(f"  note: {note}")
    random = recipe.model.name is None
    fresh = {"backbone": random and recipe.model.filterbank, "head": model is not loaded}
    if any(fresh.values()):
        start_(model, clips.splits["train"], task.collator(task.processor(extractor)), **fresh)
    return _Ready(folder, clips, task, model, extractor, _load_teacher(recipe, model))


def pruning_config(recipe: Recipe) -> PruningConfig:
    """Return the PruningConfig of a recipe."""
    names = {field.name for field in dataclasses.fields(PruningConfig)} - {"steps"}
    settings = {k: v for k, v in recipe.pruning.model_dump().items() if k in names}
    return PruningConfig(**settings, milestones=recipe.pruning.budgets[:-1])


def distillation_config(recipe: Recipe) -> DistillationConfig | None:
    """Return the DistillationConfig of a recipe, or None.

    Raises:
        DistillationError: a setting is out of range.
    """
    if recipe.distillation is None:
        return None
    return DistillationConfig(**recipe.distillation.model_dump(exclude={"teacher"}))


def _load_teacher(recipe: Recipe, model: PreTrainedModel) -> PreTrainedModel | None:
    """Load a teacher other than the dense model, and refuse a pair that does not fit before any training."""
    config = distillation_config(recipe)
    if config is None or recipe.distillation is None:
        return None
    name = recipe.distillation.teacher
    teacher = None if name is None else load_model(name)
    Distiller(config, teacher or _copy(model), model).detach()
    return teacher


def check_budget(model: nn.Module, recipe: Recipe, say: Callable[[str], None]) -> PruningGraph:
    """Trace the model, print the budget and its reachable range in numbers, refuse what cannot be met.

    Raises:
        BudgetError: malformed or out of reach. ModelError: the model cannot be traced, or is pruned already.
    """
    if is_pruned(model) and not recipe.model.allow_pruned:
        raise ModelError(
            f"{recipe.model.name} was pruned by prune_ssl already. Give the dense model, or set "
            "model.allow_pruned=true: the budget then refers to the pruned model."
        )
    config, graph = pruning_config(recipe), trace(model)
    widths = allowed_widths(graph, config.round_to, config.kinds)
    budget = with_latency(config.budget, model, graph, config.seconds, say=say)
    for limit in resolve(budget, graph, widths, config.seconds):
        smallest = limit.polynomial.value({name: options[0] for name, options in widths.items()})
        most, dense = (limit.constraint.shown(amount) for amount in (limit.maximum, limit.dense))
        say(
            f"Budget {limit.constraint}: keep at most {most} of {dense} {limit.constraint.name} "
            f"(reachable: {100 * smallest / limit.dense:.1f}% to 100%; MACs at {config.seconds:g} s)"
        )
    return graph


def _read_data(recipe: Recipe, say: Callable[[str], None]) -> SpeechFolder:
    task = task_class(recipe.task)
    config = FolderConfig(
        target=recipe.data.target or task.target,
        max_seconds=recipe.data.max_seconds,
        closed_labels=not task.open_targets,
    )
    clips = check_folder(recipe.data.path, config)
    counts = ", ".join(f"{len(each)} {split}" for split, each in clips.splits.items())
    say(f"Data {clips.path}: {counts} clips, {len(clips.labels)} different {config.target}s in train")
    for note in clips.notes:
        say(f"  note: {note}")
    return clips


def _architecture(recipe: Recipe) -> Any:
    try:
        return getattr(transformers, f"{FAMILIES[recipe.model.family].stem}Config")(**recipe.model.config)
    except (TypeError, ValueError) as error:
        raise ModelError(f"model.config does not make a {recipe.model.family} config: {error}") from error


def _make_model(recipe: Recipe) -> tuple[PreTrainedModel, Wav2Vec2FeatureExtractor]:
    if recipe.model.name is None:
        config = _architecture(recipe)
        try:
            model = getattr(transformers, f"{FAMILIES[recipe.model.family].stem}Model")(config)
        except (TypeError, ValueError) as error:
            raise ModelError(f"model.config does not make a {recipe.model.family} model: {error}") from error
        if recipe.model.filterbank:
            start_as_filterbank_(model)
        if recipe.model.pass_on:
            pass_on_(model)
        # As transformers has it: models with a group norm were trained on padding without a mask.
        masked = config.feat_extract_norm == "layer"
        return model, Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=masked)
    return load_model(recipe.model.name), load_extractor(recipe.model.name)


def _check_lengths(clips: SpeechFolder, graph: PruningGraph) -> None:
    shortest = min((clip for split in clips.splits.values() for clip in split), key=lambda clip: clip.seconds)
    if round(shortest.seconds * 16_000) < graph.receptive_field:
        raise DataError(
            f"{shortest.path} has {shortest.seconds:.3f} s of audio, less than the model's receptive field "
            f"of {graph.receptive_field} samples. Remove it or pad it."
        )


def _arguments(recipe: Recipe, steps: int, rate: float, folder: Path, **more: Any) -> TrainingArguments:
    schedule: dict[str, Any] = {"warmup_steps": 0.1, "lr_scheduler_type": "linear"}
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        learning_rate=rate,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=recipe.eval_batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation,
        activation_checkpointing=recipe.gradient_checkpointing,
        weight_decay=recipe.weight_decay,
        bf16=recipe.bf16,
        seed=recipe.seed,
        logging_steps=max(steps // 40, 1),
        save_strategy="no" if recipe.checkpoint_steps is None else "steps",
        save_steps=recipe.checkpoint_steps or steps,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=False,  # by default it is switched off with the log level that the command line sets
        train_sampling_strategy="group_by_length" if recipe.data.group_by_length else "random",
        dataloader_pin_memory=False,
        **(schedule | more),
    )


def judged_clips(recipe: Recipe, clips: SpeechFolder) -> tuple[Clip, ...]:
    """Return the clips of the split that the recipe is judged on.

    Raises:
        DataError: the folder does not have it.
    """
    name = recipe.data.judged or ("test" if "test" in clips.splits else "validation")
    if name not in clips.splits:
        raise DataError(f"{clips.path}: data.judged is {name!r}, found {', '.join(clips.splits)}.")
    return clips.splits[name]


def _trainer_arguments(
    recipe: Recipe, clips: SpeechFolder, task: Task, model: PreTrainedModel, processor: Processor
) -> dict[str, Any]:
    augmentation = Augmentation() if recipe.data.augment else None
    # By length, so that batches have little padding.
    judged = sorted(judged_clips(recipe, clips), key=lambda clip: clip.seconds)
    collator = task.collator(processor)
    collator.lengths = recipe.distillation is not None
    return {
        "train_dataset": ClipDataset(
            clips.splits["train"],
            task.encode,
            augmentation=augmentation,
            crop_seconds=recipe.data.crop_seconds,
        ),
        "eval_dataset": ClipDataset(judged, task.encode_judged),
        "data_collator": collator,
        "compute_metrics": task.judge(judged, model),
        "compute_loss_func": task.loss_function(),
        "preprocess_logits_for_metrics": task.slim,
    }


def _train_dense(
    model: nn.Module, part: TrainPart, recipe: Recipe, shared: dict[str, Any], resume: bool
) -> None:
    arguments = _arguments(
        recipe,
        part.steps,
        part.learning_rate,
        recipe.folder / DENSE_TRAINING,
        warmup_steps=part.warmup_ratio,
        lr_scheduler_type=part.scheduler,
    )
    trainer = DistillationTrainer(model=model, args=arguments, **shared)
    use_budget_progress(trainer, "dense")
    objective = getattr(model, "objective", None)
    if objective is not None and shared["compute_loss_func"] is None:
        trainer.add_callback(MarginRamp(objective))
    trainer.train(resume_from_checkpoint=resume)


def _copy(model: PreTrainedModel) -> PreTrainedModel:
    copy = type(model)(model.config)
    copy.load_state_dict(model.state_dict())
    copy.eval()
    return copy


def _report(
    recipe: Recipe,
    made: Finished,
    dense: nn.Module,
    trainer: PruningTrainer,
    model_folder: Path,
    task: Task,
) -> Report:
    results = {
        stage: {key: value for key, value in found.items() if task.loss_is_judged or key != f"{stage}_loss"}
        for stage, found in made.results.items()
    }
    return report(
        made.model,
        baseline=dense,
        seconds=recipe.report.seconds,
        threads=recipe.report.threads,
        min_iterations=recipe.report.iterations,
        min_seconds=recipe.report.min_seconds,
        history=trainer.history,
        results=results,
        budget=made.budget,
        title=recipe.name,
        folder=model_folder,
        reference_seconds=recipe.pruning.seconds,
    )
