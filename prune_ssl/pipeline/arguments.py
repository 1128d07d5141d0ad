"""Owns the TrainingArguments of every phase of a recipe, made before anything is trained or deleted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from prune_ssl.errors import RecipeError
from prune_ssl.recipes import Recipe, TrainPart, pruning_part
from prune_ssl.training import SpeechArguments
from prune_ssl.training.processes import cpu_arguments, launched

DENSE_TRAINING = "dense-training"
"""Folder of the dense training's checkpoints; those of the other phases are named as the phase."""


def dense_arguments(recipe: Recipe) -> TrainingArguments:
    """Return the arguments of dense fine-tuning.

    Raises:
        RecipeError: transformers refuses them.
    """
    assert recipe.dense is not None
    return _phase_arguments(recipe, recipe.dense, DENSE_TRAINING)


def pruning_arguments(recipe: Recipe) -> TrainingArguments:
    """Return the arguments of gate training; recovery takes them over.

    Raises:
        RecipeError: transformers refuses them, or the recipe makes a student.
    """
    part = pruning_part(recipe)
    return _training_arguments(recipe, part.steps, part.learning_rate, recipe.folder / "pruning")


def student_arguments(recipe: Recipe) -> TrainingArguments:
    """Return the arguments of a student's distillation.

    Raises:
        RecipeError: transformers refuses them.
    """
    assert recipe.student is not None
    return _phase_arguments(recipe, recipe.student, "distillation")


def check_arguments(recipe: Recipe, only_check: bool, say: Callable[[str], None]) -> None:
    """Make the arguments of every phase, so that none is refused once another has been trained.

    Args:
        recipe: the recipe.
        only_check: nothing is to be trained on this machine: that it lacks bfloat16 is then a note.
        say: called with the note.

    Raises:
        RecipeError: transformers refuses them; batches by seconds on several processes.
    """
    if recipe.data.batch_seconds is not None and launched() > 1:
        raise RecipeError(
            f"{recipe.name}: data.batch_seconds runs on one process, found {launched()}: leave it out and "
            "give batch_size, with data.group_by_length."
        )
    try:
        _make_all(recipe)
    except RecipeError as error:
        if not (only_check and recipe.bf16):
            raise
        _make_all(recipe.model_copy(update={"bf16": False}))
        say(f"  note: this machine cannot run it: {error}")


def _make_all(recipe: Recipe) -> None:
    for part, make in (
        (recipe.dense, dense_arguments),
        (recipe.pruning, pruning_arguments),
        (recipe.student, student_arguments),
    ):
        if part is not None:
            make(recipe)


def _phase_arguments(recipe: Recipe, part: TrainPart, folder: str) -> TrainingArguments:
    return _training_arguments(
        recipe,
        part.steps,
        part.learning_rate,
        recipe.folder / folder,
        warmup_steps=part.warmup_ratio,
        lr_scheduler_type=part.scheduler,
    )


def _training_arguments(
    recipe: Recipe, steps: int, rate: float, folder: Path, **more: Any
) -> TrainingArguments:
    schedule: dict[str, Any] = {"warmup_steps": 0.1, "lr_scheduler_type": "linear"}
    try:
        return SpeechArguments(
            output_dir=str(folder),
            max_steps=steps,
            learning_rate=rate,
            per_device_train_batch_size=recipe.batch_size,
            per_device_eval_batch_size=recipe.eval_batch_size,
            gradient_accumulation_steps=recipe.gradient_accumulation,
            activation_checkpointing=recipe.gradient_checkpointing,
            weight_decay=recipe.weight_decay,
            adam_beta1=recipe.optimizer.betas[0],
            adam_beta2=recipe.optimizer.betas[1],
            adam_epsilon=recipe.optimizer.epsilon,
            max_grad_norm=recipe.optimizer.max_grad_norm,
            bf16=recipe.bf16,
            batch_seconds=recipe.data.batch_seconds,
            seed=recipe.seed,
            logging_steps=max(steps // 40, 1),
            save_strategy="no" if recipe.checkpoint_steps is None else "steps",
            save_steps=recipe.checkpoint_steps or steps,
            save_total_limit=2,
            report_to="none",
            disable_tqdm=False,  # by default it is switched off with the log level of the command line
            train_sampling_strategy="group_by_length" if recipe.data.group_by_length else "random",
            dataloader_pin_memory=False,
            **(schedule | cpu_arguments() | more),
        )
    except ValueError as error:
        hint = " Set bf16=false, or run it on a GPU that has bfloat16." if recipe.bf16 else ""
        raise RecipeError(
            f"{recipe.name}: {folder.name} cannot have these settings: {str(error).rstrip('.')}.{hint}"
        ) from error
