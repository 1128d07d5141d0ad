"""Run a recipe stage by stage: dense training, pruning or a student (or neither), cut, recovery, report."""

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
from prune_ssl.pipeline.control import beside, require_control_possible, trained_control
from prune_ssl.pipeline.dense_losses import keep_losses
from prune_ssl.pipeline.fine_tuning import judged_alone
from prune_ssl.pipeline.folders import (
    DENSE_FOLDER,
    begin,
    check_disk,
    clear_finished,
    clear_interrupted,
    finish,
    held,
    is_begun,
    is_clear,
    is_finished,
    require_replaceable,
    tidy,
)
from prune_ssl.pipeline.handing_over import REPORTS, hand_over
from prune_ssl.pipeline.method_trials import AUTO, chosen_method, require_trials_possible, with_method
from prune_ssl.pipeline.preparation import (
    Ready,
    Say,
    architecture,
    check_budget,
    copy_of,
    distillation_config,
    prepare,
    pruning_config,
    require_dense,
)
from prune_ssl.pipeline.student import check_losses, distil, new_student, student_part
from prune_ssl.pipeline.trained_alike import SayFixed, teacher_of_other, train_alike_
from prune_ssl.recipes import Recipe, TrainPart, pruning_part
from prune_ssl.recipes.smoke import smoke_version
from prune_ssl.reporting import Report
from prune_ssl.tasks import task_class
from prune_ssl.tracing import Cost, PruningGraph, Traced, trace
from prune_ssl.training import DistillationTrainer, Finished, PruningTrainer
from prune_ssl.training.finite import require_finite_resumed
from prune_ssl.training.freezing import frozen
from prune_ssl.training.margins import MarginRamp, WithMargin
from prune_ssl.training.planning import AtStart, schedule_of
from prune_ssl.training.processes import from_first, is_first, on_first
from prune_ssl.training.progress import use_budget_progress


@dataclass(frozen=True)
class Outcome:
    """The result of a run."""

    plan: Plan | None
    """The plan of the cut. None: nothing was cut, as for a student."""
    report: Report
    """The report of the made model, beside the dense one if it differs."""
    folder: Path
    """The output folder."""
    model_folder: Path
    """The folder of the made model: pruned, a student, or fine-tuned."""
    report_html: Path
    """The report as an HTML page."""
    made: nn.Module | None = field(default=None, repr=False)
    """The made model, if this process made it."""

    @cached_property
    def model(self) -> nn.Module:
        """The made model. If an earlier run made it, it is loaded from its folder."""
        return load_pretrained(self.model_folder) if self.made is None else self.made


def run(recipe: Recipe, overwrite: bool = False, say: Say = print, resume: bool = False) -> Outcome:
    """Run a recipe: check everything, train the dense model, prune and recover (or distil), save, report.

    The dense model is trained only if the recipe has a section `dense`. A recipe without `pruning` and
    `student` ends there: the fine-tuned model is judged, saved and reported alone. All checks come before any
    training. Nothing is overwritten unless `overwrite` is set. A progressive run saves and reports a model
    for each of its budgets, and returns the outcome of the last. Under torchrun or accelerate launch all
    processes train, and the first one writes.

    Args:
        recipe: The recipe.
        overwrite: Whether to replace the output folder of an earlier run.
        say: Called with one line at each step.
        resume: Whether to continue an interrupted run of the same recipe in its output folder. With
            `checkpoint_steps` it continues from the last checkpoint of the interrupted phase.

    Raises:
        PruneError: the model, data, budget or output folder cannot be used. Nothing was trained then.
    """
    say = say if is_first() else _ignore
    recipe = smoke_version(recipe) if recipe.smoke else recipe
    if resume and from_first(lambda: is_finished(recipe)):
        return _finished_outcome(recipe, say)
    with held(recipe.folder) as watch:
        on_first(lambda: tidy(recipe.folder))
        begun = resume and is_begun(recipe)
        if overwrite and not begun:
            require_replaceable(recipe.folder)
        ready = prepare(recipe, overwrite or begun, say)
        _check_method(recipe, ready)
        check_disk(recipe, ready.model, overwrite or begun)
        on_first(lambda: clear_interrupted(recipe) if begun else begin(recipe))
        watch()
        return _run_stages(recipe, ready, begun, say)


def _run_stages(recipe: Recipe, ready: Ready, begun: bool, say: Say) -> Outcome:
    """Run the training phases, save and report the models, and record that the run is finished."""
    folder, model = ready.folder, ready.model
    if recipe.dense is not None and begun and (folder / DENSE_FOLDER).is_dir():
        state = load_pretrained(folder / DENSE_FOLDER).state_dict()
        require_finite_resumed(state, folder / DENSE_FOLDER)
        model.load_state_dict(state)
    elif recipe.dense is not None:
        say(f"Training the dense model: {recipe.dense.steps} steps")
        _train_dense(ready, recipe.dense, begun, say)
        processor = ready.task.processor(ready.extractor)
        # In float32, whatever the dtype of the source, so that a resumed run gets exactly these weights.
        exact = torch.float32
        earlier = earlier_plan(model)  # the plan of a model that was pruned before this run
        on_first(
            lambda: save_pretrained(
                model, folder / DENSE_FOLDER, processor=processor, plan=earlier, dtype=exact
            )
        )
        on_first(lambda: clear_interrupted(recipe))  # deletes the checkpoints of the dense training
    outcomes = _run_after_dense(recipe, ready, begun, say)
    models = [outcome.model_folder.name for outcome in outcomes]
    reports = [outcome.report_html.stem for outcome in outcomes]
    on_first(lambda: finish(folder, models, [f"{name}.{kind}" for name in reports for kind in REPORTS]))
    return outcomes[-1]


def _run_after_dense(recipe: Recipe, ready: Ready, begun: bool, say: Say) -> list[Outcome]:
    """Prune the dense model, or distil a student of it, or hand it over as it is."""
    if recipe.only_fine_tunes:
        made = judged_alone(ready)
        hand_over(recipe, ready, None, made, say)
        return [_outcome_of(ready, made)]
    dense = Traced(copy_of(ready.model), ready.graph)
    if ready.pruning is None:
        return _run_student(recipe, ready, dense, begun, say)
    return _run_pruning(recipe, ready, ready.pruning, dense, begun, say)


def _finished_outcome(recipe: Recipe, say: Say) -> Outcome:
    """Return the outcome of a finished run, and delete the files that it had no time to delete."""
    folder = recipe.folder
    if not from_first(lambda: is_clear(folder)):
        with held(folder):
            on_first(lambda: clear_finished(folder))
    say(f"{folder} is finished, so there is nothing left to do. --overwrite runs the recipe again.")
    return _found(folder)


def _found(folder: Path, suffix: str = "") -> Outcome:
    """Return the outcome of one model from the folder of a run."""
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
    resume: bool,
    say: Say,
) -> list[Outcome]:
    """Prune the model, recover, and save and report the model of each budget."""
    part, outcomes, chosen = pruning_part(recipe), list[Outcome](), dict[str, str]()
    if pruning.method == AUTO:
        choice = chosen_method(recipe, ready, resume, say)
        pruning, chosen = pruning_config(with_method(recipe, choice.method)), choice.settings
    control = trained_control(recipe, ready, pruning, resume, say) if recipe.control else None
    after = "a cut and recovery for each" if part.budgets else "then the cut and recovery"
    say(f"Pruning to {', then '.join(part.budgets) or part.budget}: {part.steps} steps, {after}")
    trainer = PruningTrainer(
        model=ready.model,
        graph=ready.graph,
        pruning=pruning,
        **_trainer_arguments(ready, ready.teacher, say),
    )
    if pruning.method == "gates":
        trainer.add_callback(AtStart(lambda: _say_schedule(trainer, say)))
        use_budget_progress(trainer, trainer.phase)  # so that its bar opens after that line
    else:
        _say_schedule(trainer, say)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PruneWarning)  # they are printed below, one line each
        trainer.train(resume_from_checkpoint=resume)
        for made in trainer.finalize_all():
            for line in made.warnings:
                say(f"  warning: {line}")
            name = "" if made.last else "-" + re.sub(r"\W+", "-", made.budget).strip("-")
            made = replace(beside(made, control), schedule=schedule_of(trainer) | chosen)
            hand_over(recipe, ready, dense, made, say, name)
            outcomes.append(_outcome_of(ready, made, name))
    return outcomes


def _check_method(recipe: Recipe, ready: Ready) -> None:
    require_control_possible(recipe)
    if ready.pruning is not None and ready.pruning.method == AUTO:
        require_trials_possible(recipe, ready)


def _say_schedule(trainer: PruningTrainer, say: Say) -> None:
    say("  " + "; ".join(f"{name} {value}" for name, value in schedule_of(trainer).items()))


def _run_student(
    recipe: Recipe, ready: Ready, dense: Traced[PreTrainedModel], resume: bool, say: Say
) -> list[Outcome]:
    """Make a student of the dense model, distil it, and save and report it."""
    part, teacher = student_part(recipe), ready.teacher or dense.model
    set_seed(recipe.seed)
    student = new_student(part, dense.model, ready.task)
    say(f"Distilling {part.shown}: {part.steps} steps")
    shared = {"args": ready.arguments["student"], "callbacks": [SayFixed(say)], **ready.shared}
    made = distil(student, teacher, shared, ready.losses, part.freeze, resume)
    hand_over(recipe, ready, dense, made, say)
    return [_outcome_of(ready, made)]


def trainer_for(recipe: Recipe, model: nn.Module, say: Callable[[str], None] = print) -> PruningTrainer:
    """Return the trainer of a recipe's pruning phase for another model, on the recipe's data.

    The model is one that another tool made from the recipe's model. With method `one_shot` and a budget of
    100% it is trained exactly as `run` trains its own cut models: the same parameters stay fixed, the
    dropouts, LayerDrop, SpecAugment, margin, dtype, seeds and teacher are those of the recipe, and the
    learning rate is that of a model with its share of the recipe model's MACs. Nothing is written before
    training.

    Args:
        recipe: The recipe.
        model: The model to train. Its training settings are changed in place.
        say: Called with one line for each finding.

    Raises:
        RecipeError: the recipe does not prune.
        PruneError: the recipe's model, data or budget cannot be used.
        DistillationError: the model was cut, and the recipe trains the dense model that would teach it.
    """
    pruning = pruning_config(recipe)
    ready = prepare(recipe, True, say)
    train_alike_(model, ready.model)
    teacher = teacher_of_other(recipe, ready, model)
    # The model has other widths, so the graph and the latency table of the recipe's model do not fit it.
    graph = trace(model)
    arguments = _trainer_arguments(ready, teacher, say)
    # The learning rate grows as the model shrinks, and the trainer counts only what it cuts itself.
    kept = graph.cost(seconds=pruning.seconds).macs / ready.graph.cost(seconds=pruning.seconds).macs
    rate = arguments["args"].learning_rate * pruning.rate_factor(kept)
    arguments["args"] = replace(arguments["args"], learning_rate=rate)
    return PruningTrainer(model=model, graph=graph, pruning=pruning, **arguments)


def _trainer_arguments(ready: Ready, teacher: PreTrainedModel | None, say: Say) -> dict[str, Any]:
    """Return the arguments of a PruningTrainer that do not depend on the model it prunes."""
    return {
        "args": ready.arguments["pruning"],
        "distillation": ready.losses,
        "teacher": teacher,
        "callbacks": [SayFixed(say)],
        **ready.shared,
    }


def _outcome_of(ready: Ready, made: Finished, suffix: str = "") -> Outcome:
    """Return the outcome of a model that this process made."""
    return replace(_found(ready.folder, suffix), plan=made.plan, made=made.model)


def _ignore(_line: str) -> None:
    """Print nothing. All processes except the first use it."""


def dry_run(recipe: Recipe, overwrite: bool = False, say: Say = print) -> None:
    """Do all checks of a run, print the budget and its reachable range, and stop.

    A lack of bfloat16 on this machine, or an output folder that exists, is only a note, because the run may
    be meant for another machine.

    Args:
        recipe: The recipe.
        overwrite: Whether the output folder may exist.
        say: Called with one line for each finding.

    Raises:
        PruneError: `run` would raise it before any training.
    """
    if overwrite:
        require_replaceable(recipe.folder)
    recipe = smoke_version(recipe) if recipe.smoke else recipe
    _check_method(recipe, prepare(recipe, overwrite, say, only_check=True))
    try:
        prepare_folder(recipe.folder, overwrite, as_whole=False)
    except ArtifactError as error:
        say(f"  note: {error}")
    say("Dry run: all checks passed, nothing was trained or written.")


def plan_architecture(recipe: Recipe, say: Say = print) -> PruningGraph:
    """Check a recipe against its architecture on the meta device, without weights, data or network.

    It prints the dense cost, and the budget with its reachable range or the student's cost if the recipe has
    one of them. The head has the
    size in the config, because no data are read.

    Args:
        recipe: The recipe.
        say: Called with one line for each result.

    Returns:
        The graph of the dense model, or of the student.

    Raises:
        ModelError: the config does not make a model of the family.
        BudgetError: the budget is malformed or out of reach.

    >>> from prune_ssl.recipes import load_recipe
    >>> graph = plan_architecture(load_recipe("ks_digits_hj_mac"), say=lambda line: None)
    >>> "layer.0.ffn" in graph.groups
    True
    """
    config = architecture(recipe.model)
    with torch.device("meta"):
        model = task_class(recipe.task).spec.auto_class.from_config(config)
    traced, seconds = Traced(model, trace(model)), recipe.reference_seconds
    cost = traced.graph.cost(seconds=seconds)
    say(_cost_line(model, cost))
    if recipe.only_fine_tunes:
        return traced.graph
    if recipe.student is None:
        require_dense(recipe.model, model)
        check_budget(traced, pruning_config(recipe), say)
        return traced.graph
    with torch.device("meta"):
        student = make_student(model, recipe.student)
        losses = distillation_config(recipe.distillation)
        if losses is not None:
            check_losses(losses, model, student)
    graph = trace(student)
    small = graph.cost(seconds=seconds)
    say(f"student {_cost_line(student, small)} ({100 * small.macs / cost.macs:.1f}%)")
    return graph


def _cost_line(model: nn.Module, cost: Cost) -> str:
    return f"{type(model).__name__}: {cost.params:,} parameters, {cost.macs:,} MACs at {cost.seconds:g} s"


def _train_dense(ready: Ready, part: TrainPart, resume: bool, say: Say) -> None:
    dataset = ready.corpus.training(ready.task, to_teach_clean=ready.losses is not None)
    trainer = DistillationTrainer(
        model=ready.model,
        args=ready.arguments["dense"],
        callbacks=[SayFixed(say)],
        **ready.shared | {"train_dataset": dataset},
    )
    use_budget_progress(trainer, "dense")
    own = trainer.compute_loss_func
    objective = getattr(ready.model, "objective", None) if own is None else own
    if isinstance(objective, WithMargin):
        trainer.add_callback(MarginRamp(objective))
    with frozen(ready.model, part.freeze):
        trainer.train(resume_from_checkpoint=resume)
    on_first(lambda: keep_losses(ready.folder, trainer.state.log_history))
