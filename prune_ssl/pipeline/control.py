"""The control of a pruning run: its dense model, trained as long as the pruned one and with all else alike.

A pruned model has trained longer than the dense model that it came from. Without a control its difference
from that model mixes the cut with the longer training.
"""

import json
from dataclasses import replace

from prune_ssl.errors import RecipeError
from prune_ssl.gating import PruningConfig
from prune_ssl.pipeline.folders import CONTROL
from prune_ssl.pipeline.preparation import Ready, Say, copy_of
from prune_ssl.pipeline.trained_alike import SayFixed, train_alike_
from prune_ssl.recipes import Recipe, pruning_part
from prune_ssl.training import DistillationTrainer, Finished
from prune_ssl.training.processes import on_first
from prune_ssl.training.progress import use_budget_progress
from prune_ssl.training.record import PruningRecord
from prune_ssl.training.stages import stages_of
from prune_ssl.writing import write_text

CONTROL_FILE = "control.json"
"""Holds what the control gave, so that a resumed run need not train it again."""


def require_control_possible(recipe: Recipe) -> None:
    """Refuse a control of a recipe that has nothing to compare with it.

    Raises:
        RecipeError: the recipe does not prune, or its task has no labels.
    """
    if recipe.control and (recipe.pruning is None or recipe.task == "representation"):
        raise RecipeError(
            f"{recipe.name}: control is for recipes that prune a model of a task with labels: leave it out."
        )


def steps_of_control(ready: Ready, pruning: PruningConfig, steps: int) -> int:
    """Return how long the pruned model trains after the dense one: gate training or rounds, and recovery."""
    if pruning.milestones:
        stages = stages_of(pruning, ready.graph, steps)
        return sum(stage.steps + stage.recovery for stage in stages)
    return steps + round(pruning.recovery * steps)


def trained_control(
    recipe: Recipe, ready: Ready, pruning: PruningConfig, resume: bool, say: Say
) -> PruningRecord:
    """Train a copy of the dense model without any cut, and return its results of the stage `control`.

    Steps, losses, teacher, data and seeds are those of pruning. The learning rate is that of the recipe, with
    one warm-up and one decay.

    Args:
        recipe: The recipe.
        ready: The prepared run. Its model has been trained.
        pruning: The settings of pruning.
        resume: Whether to take over what an interrupted run has trained.
        say: Called with one line.
    """
    path, record = ready.folder / CONTROL_FILE, PruningRecord()
    if resume and path.is_file():
        record.take(json.loads(path.read_text(encoding="utf-8")))
        return record
    steps = steps_of_control(ready, pruning, pruning_part(recipe).steps)
    say(f"Training the control, the dense model without any cut: {steps} steps")
    model = copy_of(ready.model)
    train_alike_(model, ready.model)
    args = replace(ready.arguments["pruning"], output_dir=str(ready.folder / CONTROL), max_steps=steps)
    taught = None if ready.losses is None else ready.teacher or copy_of(ready.model)
    trainer = DistillationTrainer(
        model=model,
        args=args,
        distillation=ready.losses,
        teacher=taught,
        callbacks=[SayFixed(say)],
        **ready.shared,
    )
    use_budget_progress(trainer, CONTROL)
    trainer.train(resume_from_checkpoint=resume)
    record.judge(trainer, CONTROL)
    record.note_losses(trainer.state.log_history, CONTROL)
    on_first(lambda: write_text(path, json.dumps(record.progress())))
    return record


def beside(made: Finished, control: PruningRecord | None) -> Finished:
    """Return a finished model with the results of the control beside its own. None: there is no control."""
    if control is None:
        return made
    return replace(
        made,
        results={**made.results, **control.results},
        outcomes={**made.outcomes, **control.outcomes},
        history=[*made.history, *control.history],
    )
