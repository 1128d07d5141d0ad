"""Runs a recipe, stage by stage: dense training, pruning or a student, cut, recovery, report."""

import copy
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import ModelCard
from torch import nn
from transformers import (
    PreTrainedModel,
    set_seed,
)

from prune_ssl.artifacts import (
    earlier_plan,
    load_pretrained,
    plan_from_dense,
    prepare_folder,
    save_pretrained,
)
from prune_ssl.artifacts.companions import CARD, CARD_OF_SOURCE
from prune_ssl.artifacts.folder import PLAN_FILE, load_plan
from prune_ssl.distillation import make_student
from prune_ssl.errors import ArtifactError, PruneWarning
from prune_ssl.gating import Plan
from prune_ssl.measuring import measure_interleaved
from prune_ssl.pipeline.arguments import dense_arguments, pruning_arguments
from prune_ssl.pipeline.corpora import trainer_arguments, training_clips
from prune_ssl.pipeline.folders import (
    DENSE_FOLDER,
    RECIPE_FILE,
    begin,
    check_disk,
    clear_finished,
    finish,
    held,
    is_begun,
    is_clear,
    is_finished,
    require_replaceable,
    take_up,
    tidy,
)
from prune_ssl.pipeline.preparation import (
    Ready,
    Say,
    architecture,
    check_budget,
    check_losses,
    copy_of,
    distillation_config,
    prepare,
    pruning_config,
    set_up_,
)
from prune_ssl.pipeline.student import distil, new_student
from prune_ssl.recipes import Recipe, pruning_part
from prune_ssl.recipes.smoke import smoke_version
from prune_ssl.reporting import Report, report
from prune_ssl.reporting.card import Provenance, model_card
from prune_ssl.selection import Limit
from prune_ssl.tasks import Task, task_class
from prune_ssl.tracing import Cost, PruningGraph, trace
from prune_ssl.training import DistillationTrainer, Finished, PruningTrainer
from prune_ssl.training.finite import require_finite_resumed
from prune_ssl.training.freezing import frozen
from prune_ssl.training.margins import MarginRamp
from prune_ssl.training.processes import from_first, is_first, on_first
from prune_ssl.training.progress import use_budget_progress
from prune_ssl.writing import write_text

REPORTS = ("md", "html", "json")
"""Forms of each report; a sweep takes the last for the sign that there is a result."""


@dataclass(frozen=True)
class Outcome:
    """What a run made."""

    plan: Plan | None
    """What was kept; None for a student."""
    report: Report
    folder: Path
    model_folder: Path
    report_html: Path
    made: nn.Module | None = field(default=None, repr=False)
    """The model, where this process made it."""

    @cached_property
    def model(self) -> nn.Module:
        """The small model; that of a run which was finished before is loaded from its folder."""
        return load_pretrained(self.model_folder) if self.made is None else self.made


def run(recipe: Recipe, overwrite: bool = False, say: Say = print, resume: bool = False) -> Outcome:
    """Run a recipe: check everything, train dense (if asked), prune and recover or distil, save, report.

    All checks come before any training, and nothing is overwritten unless `overwrite`. A progressive run
    saves and reports a model for each of its budgets; the outcome is that of the last. Under torchrun or
    accelerate launch all processes train, the first one writes.

    Args:
        recipe: what to do.
        overwrite: replace the output folder of an earlier run.
        say: called with one line at each step.
        resume: go on in the output folder of the same recipe, if it is there; with `checkpoint_steps` from
            the last checkpoint of the phase that was interrupted.

    Raises:
        PruneError: the model, data, budget or output folder cannot be used; nothing was trained.
    """
    say = say if is_first() else _unsaid
    recipe = smoke_version(recipe) if recipe.smoke else recipe
    if resume and from_first(lambda: is_finished(recipe)):
        return _found_finished(recipe, say)
    with held(recipe.folder) as watch:
        on_first(lambda: tidy(recipe.folder))
        begun = resume and is_begun(recipe)
        if overwrite and not begun:
            require_replaceable(recipe.folder)
        ready = prepare(recipe, overwrite or begun, say)
        check_disk(recipe, ready.model, overwrite or begun)
        on_first(lambda: take_up(recipe) if begun else begin(recipe))
        watch()
        return _run_stages(recipe, ready, begun, say)


def _run_stages(recipe: Recipe, ready: "Ready", begun: bool, say: Say) -> Outcome:
    """Train what is to be trained, hand over the models, and note that the run is finished."""
    folder, clips, task = ready.folder, ready.clips, ready.task
    model, processor = ready.model, task.processor(ready.extractor)
    shared = trainer_arguments(recipe, clips, task, model, processor, ready.corruption)
    if recipe.dense is not None and begun and (folder / DENSE_FOLDER).is_dir():
        state = load_pretrained(folder / DENSE_FOLDER).state_dict()
        require_finite_resumed(state, folder / DENSE_FOLDER)
        model.load_state_dict(state)
    elif recipe.dense is not None:
        say(f"Training the dense model: {recipe.dense.steps} steps")
        heard = {"train_dataset": training_clips(recipe, clips, task, ready.corruption, dense=True)}
        _train_dense(model, recipe, shared | heard, begun)
        # In float32, whatever the source's dtype: a resumed run goes on from exactly these weights.
        exact = torch.float32
        earlier = earlier_plan(model)  # of a model that was pruned before this run
        on_first(
            lambda: save_pretrained(
                model, folder / DENSE_FOLDER, processor=processor, plan=earlier, dtype=exact
            )
        )
        on_first(lambda: take_up(recipe))  # its checkpoints go
    dense, make = copy_of(model), _run_pruning if recipe.student is None else _run_student
    outcomes = make(recipe, ready, dense, shared, begun, say)
    models = [outcome.model_folder.name for outcome in outcomes]
    reports = [outcome.report_html.stem for outcome in outcomes]
    on_first(lambda: finish(folder, models, [f"{name}.{kind}" for name in reports for kind in REPORTS]))
    return outcomes[-1]


def _found_finished(recipe: Recipe, say: Say) -> Outcome:
    """Return what a finished run made; what it had no time to delete is deleted."""
    folder = recipe.folder
    if not from_first(lambda: is_clear(folder)):
        with held(folder):
            on_first(lambda: clear_finished(folder))
    say(f"{folder} is finished: there is nothing left to do. --overwrite runs it again.")
    return _outcome(recipe, folder / "model", "")


def _outcome(recipe: Recipe, model_folder: Path, suffix: str, made: Finished | None = None) -> Outcome:
    """Return what there is of one model of a run."""
    folder = recipe.folder
    plan = load_plan(model_folder) if made is None and (model_folder / PLAN_FILE).is_file() else None
    return Outcome(
        plan if made is None else made.plan,
        Report.load(folder / f"report{suffix}.json"),
        folder,
        model_folder,
        folder / f"report{suffix}.html",
        None if made is None else made.model,
    )


def _run_pruning(
    recipe: Recipe, ready: "Ready", dense: PreTrainedModel, shared: dict[str, Any], begun: bool, say: Say
) -> list[Outcome]:
    """Prune the model, recover, and hand over the model of each budget."""
    part, outcomes = pruning_part(recipe), list[Outcome]()
    after = "a cut and recovery for each" if part.budgets else "then the cut and recovery"
    say(f"Pruning to {', then '.join(part.budgets) or part.budget}: {part.steps} steps, {after}")
    trainer = _pruning_trainer(recipe, ready, ready.model, shared)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PruneWarning)  # they are said here, a line each
        trainer.train(resume_from_checkpoint=begun)
        for made in trainer.finalize_all():
            for line in made.warnings:
                say(f"  warning: {line}")
            name = "" if made.last else "-" + re.sub(r"\W+", "-", made.budget).strip("-")
            outcomes.append(_hand_over(recipe, ready, made, dense, say, name))
    return outcomes


def _run_student(
    recipe: Recipe, ready: "Ready", dense: PreTrainedModel, shared: dict[str, Any], begun: bool, say: Say
) -> list[Outcome]:
    """Make a student of the dense model, distil it, and hand it over."""
    losses = distillation_config(recipe, ready.task)
    assert losses is not None  # the schema sees to it
    assert recipe.student is not None
    set_seed(recipe.seed)
    student = new_student(recipe, dense, ready.task)
    say(f"Distilling {recipe.student.shown}: {recipe.student.steps} steps")
    made = distil(recipe, student, ready.teacher or dense, losses, shared, begun)
    return [_hand_over(recipe, ready, made, dense, say)]


def trainer_for(recipe: Recipe, model: nn.Module, say: Callable[[str], None] = print) -> PruningTrainer:
    """Return the trainer of a recipe's pruning phase for a model of the caller's, on the recipe's data.

    For a model that something else made of the recipe's; with method `one_shot` and a budget of 100% it is
    trained as `run` trains its own cut models: a filterbank of the recipe stays as it is in this model too.
    Nothing is written before training.

    Raises:
        PruneError: the recipe's model, data or budget cannot be used.
    """
    ready = prepare(recipe, True, say)
    set_up_(recipe, model)
    processor = ready.task.processor(ready.extractor)
    shared = trainer_arguments(recipe, ready.clips, ready.task, ready.model, processor, ready.corruption)
    return _pruning_trainer(recipe, ready, model, shared)


def _pruning_trainer(
    recipe: Recipe, ready: "Ready", model: nn.Module, shared: dict[str, Any]
) -> PruningTrainer:
    return PruningTrainer(
        model=model,
        args=pruning_arguments(recipe),
        pruning=pruning_config(recipe),
        distillation=distillation_config(recipe, ready.task),
        teacher=ready.teacher,
        **shared,
    )


def _hand_over(
    recipe: Recipe,
    ready: "Ready",
    made: Finished,
    dense: PreTrainedModel,
    say: Say,
    suffix: str = "",
) -> Outcome:
    """Save one model of a run, measure it, and write its reports.

    It goes to the CPU, where the dense one is, wherever it was trained: the two are timed in turns.
    """
    folder, config = recipe.folder, made.model.config
    config.apply_spec_augment = ready.spec_augment  # type: ignore[union-attr]
    processor, model_folder = ready.task.processor(ready.extractor), folder / f"model{suffix}"

    def write() -> None:
        plan = None if made.plan is None else plan_from_dense(dense, made.plan)
        save_pretrained(made.model, model_folder, overwrite=True, processor=processor, plan=plan)
        made.model.cpu()
        say(f"Measuring the model of {made.budget}" if made.budget else "Measuring the student")
        written = _report(recipe, made, dense, model_folder, ready.task)
        written.save(model_folder / "report.json")
        write_text(model_folder / CARD, model_card(written.data, _provenance(recipe, model_folder)))
        for kind in REPORTS:
            written.save(folder / f"report{suffix}.{kind}")
        for line in latency_lines(made.limits, made.model, dense):
            say(line)

    on_first(write)
    return _outcome(recipe, model_folder, suffix, made)


def _provenance(recipe: Recipe, model_folder: Path) -> Provenance:
    """Return what the card of a model says of where it came from."""
    source = model_folder / CARD_OF_SOURCE
    try:
        card = ModelCard.load(source).data.to_dict() if source.is_file() else {}
    except (ValueError, OSError, yaml.YAMLError):  # theirs, and perhaps no card of the hub at all
        card = {}
    name, data = recipe.model.name, recipe.data.path
    command = f"prune-ssl run {RECIPE_FILE}"
    return Provenance(name, recipe.task, Path(data).name if data else "", command, card)


def _unsaid(_line: str) -> None:
    """Say nothing, on the processes that are not the first."""


def latency_lines(limits: Sequence[Limit], small: nn.Module, dense: nn.Module) -> list[str]:
    """Measure the latencies that a budget constrains, where it says, and say how small and dense compare."""
    lines = []
    for limit in limits:
        at = limit.constraint.at
        if limit.constraint.metric != "latency" or at.seconds is None:
            continue
        placed = {
            name: copy.deepcopy(model).to(at.device, getattr(torch, at.dtype))
            for name, model in (("dense", dense), ("small", small))
        }
        found = measure_interleaved(placed, at.seconds, at.threads, min_iterations=15)
        steady = not any(latency[0].unsteady for latency in found.values())
        times = {
            name: latency[0].median_ms if steady else latency[0].low_ms or 0
            for name, latency in found.items()
        }
        lines.append(
            f"Latency of {at.seconds:g} s, {at.device}, threads={at.threads}, {at.dtype}: "
            f"{times['small']:.1f} ms, dense "
            f"{times['dense']:.1f} ms ({100 * times['small'] / times['dense']:.1f}%); asked: "
            f"{limit.constraint.shown(limit.maximum)} ({100 * limit.fraction:.1f}%)"
        )
    return lines


def dry_run(recipe: Recipe, overwrite: bool = False, say: Say = print) -> None:
    """Do all checks of a run, print the budget and its reachable range, and stop.

    That this machine lacks bfloat16, or that the output folder is taken, is a note: the run may be meant for
    another one.

    Raises:
        PruneError: as `run` would, before any training.
    """
    if overwrite:
        require_replaceable(recipe.folder)
    prepare(smoke_version(recipe) if recipe.smoke else recipe, overwrite, say, only_check=True)
    try:
        prepare_folder(recipe.folder, overwrite, as_whole=False)
    except ArtifactError as error:
        say(f"  note: {error}")
    say("Dry run: all checks passed, nothing was trained or written.")


def plan_architecture(recipe: Recipe, say: Say = print) -> PruningGraph:
    """Check a recipe against its architecture on the meta device: no weights, no data, no network.

    Prints the dense cost, and the budget with its reachable range, or the student's cost. The head has the
    size that the config says, not that of any data.

    Raises:
        ModelError: the config makes no model of the family. BudgetError: malformed or out of reach.
    """
    config = architecture(recipe)
    with torch.device("meta"):
        model = task_class(recipe.task).auto_class.from_config(config)
    cost = trace(model).cost(seconds=recipe.reference_seconds)
    say(_shown(model, cost, recipe))
    if recipe.student is None:
        return check_budget(model, recipe, say)
    with torch.device("meta"):
        student = make_student(model, recipe.student.shape)
        check_losses(distillation_config(recipe), model, student)
    graph = trace(student)
    small = graph.cost(seconds=recipe.reference_seconds)
    say(f"student {_shown(student, small, recipe)} ({100 * small.macs / cost.macs:.1f}%)")
    return graph


def _shown(model: nn.Module, cost: Cost, recipe: Recipe) -> str:
    seconds = recipe.reference_seconds
    return f"{type(model).__name__}: {cost.params:,} parameters, {cost.macs:,} MACs at {seconds:g} s"


def _train_dense(model: nn.Module, recipe: Recipe, shared: dict[str, Any], resume: bool) -> None:
    assert recipe.dense is not None
    trainer = DistillationTrainer(model=model, args=dense_arguments(recipe), **shared)
    use_budget_progress(trainer, "dense")
    objective = getattr(model, "objective", None)
    if objective is not None and shared["compute_loss_func"] is None:
        trainer.add_callback(MarginRamp(objective))
    with frozen(model, recipe.dense.freeze):
        trainer.train(resume_from_checkpoint=resume)


def _report(
    recipe: Recipe,
    made: Finished,
    dense: nn.Module,
    model_folder: Path,
    task: Task,
) -> Report:
    # What a latency budget constrains is in the report as well, where it means the report's device and dtype.
    conditions = [limit.constraint.at for limit in made.limits if limit.constraint.metric == "latency"]
    timed = [at for at in conditions if (at.device, at.dtype) == ("cpu", "float32")]
    results = {
        stage: {key: value for key, value in found.items() if task.loss_is_judged or key != f"{stage}_loss"}
        for stage, found in made.results.items()
    }
    return report(
        made.model,
        baseline=dense,
        seconds=sorted({*recipe.report.seconds, *(at.seconds for at in timed if at.seconds)}),
        threads=sorted({*recipe.report.threads, *(at.threads for at in timed)}),
        min_iterations=recipe.report.iterations,
        min_seconds=recipe.report.min_seconds,
        history=made.history,
        results=results,
        made="pruned" if recipe.student is None else "student",
        budget=made.budget or None,
        title=recipe.name,
        folder=model_folder,
        reference_seconds=recipe.reference_seconds,
    )
