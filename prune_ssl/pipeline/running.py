"""Runs a recipe, stage by stage: dense training, pruning or a student, cut, recovery, report."""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, set_seed

from prune_ssl.artifacts import earlier_plan, load_pretrained, prepare_folder, save_pretrained
from prune_ssl.artifacts.folder import PLAN_FILE, load_plan
from prune_ssl.distillation import make_student
from prune_ssl.errors import ArtifactError, PruneWarning
from prune_ssl.gating import Plan, PruningConfig
from prune_ssl.pipeline.folders import (
    DENSE_FOLDER,
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
from prune_ssl.pipeline.handing_over import REPORTS, hand_over
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
    require_dense,
    set_up_,
)
from prune_ssl.pipeline.student import distil, new_student, student_part
from prune_ssl.recipes import Recipe, TrainPart, pruning_part
from prune_ssl.recipes.smoke import smoke_version
from prune_ssl.reporting import Report
from prune_ssl.tasks import task_class
from prune_ssl.tracing import Cost, PruningGraph, Traced, trace
from prune_ssl.training import DistillationTrainer, Finished, PruningTrainer
from prune_ssl.training.finite import require_finite_resumed
from prune_ssl.training.freezing import frozen
from prune_ssl.training.margins import MarginRamp
from prune_ssl.training.processes import from_first, is_first, on_first
from prune_ssl.training.progress import use_budget_progress


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


def _run_stages(recipe: Recipe, ready: Ready, begun: bool, say: Say) -> Outcome:
    """Train what is to be trained, hand over the models, and note that the run is finished."""
    folder, model = ready.folder, ready.model
    if recipe.dense is not None and begun and (folder / DENSE_FOLDER).is_dir():
        state = load_pretrained(folder / DENSE_FOLDER).state_dict()
        require_finite_resumed(state, folder / DENSE_FOLDER)
        model.load_state_dict(state)
    elif recipe.dense is not None:
        say(f"Training the dense model: {recipe.dense.steps} steps")
        _train_dense(ready, recipe.dense, begun)
        processor = ready.task.processor(ready.extractor)
        # In float32, whatever the source's dtype: a resumed run goes on from exactly these weights.
        exact = torch.float32
        earlier = earlier_plan(model)  # of a model that was pruned before this run
        on_first(
            lambda: save_pretrained(
                model, folder / DENSE_FOLDER, processor=processor, plan=earlier, dtype=exact
            )
        )
        on_first(lambda: take_up(recipe))  # its checkpoints go
    dense = Traced(copy_of(model), ready.graph)
    if ready.pruning is None:
        outcomes = _run_student(recipe, ready, dense, begun, say)
    else:
        outcomes = _run_pruning(recipe, ready, ready.pruning, dense, begun, say)
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
    return _found(folder)


def _found(folder: Path, suffix: str = "") -> Outcome:
    """Return what there is of one model in the folder of a run."""
    model_folder = folder / f"model{suffix}"
    return Outcome(
        load_plan(model_folder) if (model_folder / PLAN_FILE).is_file() else None,
        Report.load(folder / f"report{suffix}.json"),
        folder,
        model_folder,
        folder / f"report{suffix}.html",
    )


def _run_pruning(
    recipe: Recipe,
    ready: Ready,
    pruning: PruningConfig,
    dense: Traced[PreTrainedModel],
    going_on: bool,
    say: Say,
) -> list[Outcome]:
    """Prune the model, recover, and hand over the model of each budget."""
    part, outcomes = pruning_part(recipe), list[Outcome]()
    after = "a cut and recovery for each" if part.budgets else "then the cut and recovery"
    say(f"Pruning to {', then '.join(part.budgets) or part.budget}: {part.steps} steps, {after}")
    trainer = PruningTrainer(model=ready.model, graph=ready.graph, pruning=pruning, **_of_pruning(ready))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PruneWarning)  # they are said here, a line each
        trainer.train(resume_from_checkpoint=going_on)
        for made in trainer.finalize_all():
            for line in made.warnings:
                say(f"  warning: {line}")
            name = "" if made.last else "-" + re.sub(r"\W+", "-", made.budget).strip("-")
            hand_over(recipe, ready, dense, made, say, name)
            outcomes.append(_outcome_of(ready, made, name))
    return outcomes


def _run_student(
    recipe: Recipe, ready: Ready, dense: Traced[PreTrainedModel], going_on: bool, say: Say
) -> list[Outcome]:
    """Make a student of the dense model, distil it, and hand it over."""
    part, teacher = student_part(recipe), ready.teacher or dense.model
    set_seed(recipe.seed)
    student = new_student(part, dense.model, ready.task)
    say(f"Distilling {part.shown}: {part.steps} steps")
    shared = {"args": ready.arguments["student"], **ready.shared}
    made = distil(student, teacher, shared, ready.losses, part.freeze, going_on)
    hand_over(recipe, ready, dense, made, say)
    return [_outcome_of(ready, made)]


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
    # The model has widths of its own: neither the graph nor a latency of the recipe's model is its.
    return PruningTrainer(model=model, pruning=pruning_config(pruning_part(recipe)), **_of_pruning(ready))


def _of_pruning(ready: Ready) -> dict[str, Any]:
    """Return what the trainer of a pruning phase takes, whichever model it prunes."""
    return {
        "args": ready.arguments["pruning"],
        "distillation": ready.losses,
        "teacher": ready.teacher,
        **ready.shared,
    }


def _outcome_of(ready: Ready, made: Finished, suffix: str = "") -> Outcome:
    """Return what a run made of one model."""
    return replace(_found(ready.folder, suffix), plan=made.plan, made=made.model)


def _unsaid(_line: str) -> None:
    """Say nothing, on the processes that are not the first."""


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
    config = architecture(recipe.model)
    with torch.device("meta"):
        model = task_class(recipe.task).auto_class.from_config(config)
    traced, seconds = Traced(model, trace(model)), recipe.reference_seconds
    cost = traced.graph.cost(seconds=seconds)
    say(_shown(model, cost, seconds))
    if recipe.student is None:
        require_dense(recipe.model, model)
        check_budget(traced, pruning_config(pruning_part(recipe)), say)
        return traced.graph
    with torch.device("meta"):
        student = make_student(model, recipe.student.shape)
        losses = distillation_config(recipe.distillation)
        if losses is not None:
            check_losses(losses, model, student)
    graph = trace(student)
    small = graph.cost(seconds=seconds)
    say(f"student {_shown(student, small, seconds)} ({100 * small.macs / cost.macs:.1f}%)")
    return graph


def _shown(model: nn.Module, cost: Cost, seconds: float) -> str:
    return f"{type(model).__name__}: {cost.params:,} parameters, {cost.macs:,} MACs at {seconds:g} s"


def _train_dense(ready: Ready, part: TrainPart, resume: bool) -> None:
    heard = ready.corpus.training(ready.task, to_teach_clean=ready.losses is not None)
    trainer = DistillationTrainer(
        model=ready.model, args=ready.arguments["dense"], **ready.shared | {"train_dataset": heard}
    )
    use_budget_progress(trainer, "dense")
    objective = getattr(ready.model, "objective", None)
    if objective is not None and trainer.compute_loss_func is None:
        trainer.add_callback(MarginRamp(objective))
    with frozen(ready.model, part.freeze):
        trainer.train(resume_from_checkpoint=resume)
