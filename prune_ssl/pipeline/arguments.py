"""The TrainingArguments of every phase of a recipe, made before anything is trained or deleted."""

from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path

import torch
from transformers import TrainingArguments

from prune_ssl.errors import RecipeError
from prune_ssl.recipes import Recipe, TrainPart
from prune_ssl.training import SpeechArguments
from prune_ssl.training.processes import cpu_arguments, launched

DENSE_TRAINING = "dense-training"
"""The folder of the dense training's checkpoints. The other phases use their own names."""


def checked_arguments(
    recipe: Recipe, only_check: bool, say: Callable[[str], None]
) -> dict[str, TrainingArguments]:
    """Make the arguments of every phase at once, so that no later phase is refused after an earlier one.

    Args:
        recipe: The recipe.
        only_check: Whether nothing will be trained on this machine. A lack of bfloat16 is then only a note.
        say: Called with the note.

    Returns:
        The arguments of each phase that the recipe has: `dense`, `pruning`, `student`. Recovery uses those
        of pruning.

    Raises:
        RecipeError: transformers refuses the arguments, or batches by seconds run on several processes.
    """
    if recipe.data.batch_seconds is not None and launched() > 1:
        raise RecipeError(
            f"{recipe.name}: data.batch_seconds runs on one process, found {launched()}: leave it out and "
            "give batch_size, with data.group_by_length."
        )
    try:
        made = phase_arguments(recipe)
        refuse_one_process_for_several_gpus(recipe.name, made)
        return made
    except RecipeError as error:
        if not (only_check and recipe.bf16):
            raise
        made = phase_arguments(recipe.model_copy(update={"bf16": False}))
        say(f"  note: this machine cannot run the recipe: {error}")
        return made


def refuse_one_process_for_several_gpus(name: str, made: Mapping[str, TrainingArguments]) -> None:
    """Refuse DataParallel, which Trainer takes if one process sees several GPUs: gates and taps fail in it.

    Raises:
        RecipeError: there are several GPUs and one process.
    """
    gpus = max((arguments.n_gpu for arguments in made.values()), default=0)
    if gpus > 1:
        raise RecipeError(
            f"{name}: one process sees {gpus} GPUs, found no launcher: wanted one process for each GPU. Run "
            f"torchrun --nproc-per-node {gpus} -m prune_ssl run RECIPE, or set CUDA_VISIBLE_DEVICES=0."
        )


def phase_arguments(recipe: Recipe) -> dict[str, TrainingArguments]:
    """Return the arguments of every phase that a recipe has, without checks of the machine.

    Raises:
        RecipeError: transformers refuses them.
    """
    made: dict[str, TrainingArguments] = {}
    if recipe.dense is not None:
        made["dense"] = _phase_arguments(recipe, recipe.dense, DENSE_TRAINING)
    if recipe.pruning is not None:
        part = recipe.pruning
        made["pruning"] = _training_arguments(
            recipe,
            part.steps,
            part.learning_rate,
            recipe.folder / "pruning",
            warmup_steps=part.warmup_ratio,
        )
    if recipe.student is not None:
        made["student"] = _phase_arguments(recipe, recipe.student, "distillation")
    return made


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
    recipe: Recipe, steps: int, rate: float, folder: Path, **more: float | str
) -> TrainingArguments:
    schedule: dict[str, float | str] = {"warmup_steps": 0.1, "lr_scheduler_type": "linear"}
    most = recipe.optimizer.max_grad_norm  # with infinity the norm is still looked at, by `FiniteTrainer`
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
            max_grad_norm=inf if most is None else most,
            bf16=recipe.bf16,
            torch_compile=recipe.compile,
            batch_seconds=recipe.data.batch_seconds,
            seed=recipe.seed,
            logging_steps=max(steps // 40, 1),
            save_strategy="no" if recipe.checkpoint_steps is None else "steps",
            save_steps=recipe.checkpoint_steps or steps,
            save_total_limit=2,
            report_to="none",
            disable_tqdm=False,  # by default the log level of the command line would switch tqdm off
            train_sampling_strategy="group_by_length" if recipe.data.group_by_length else "random",
            dataloader_num_workers=recipe.data.workers,
            dataloader_pin_memory=recipe.data.workers > 0 and torch.cuda.is_available(),
            **(schedule | cpu_arguments() | more),
        )
    except ValueError as error:
        hint = " Set bf16=false, or run it on a GPU that has bfloat16." if recipe.bf16 else ""
        raise RecipeError(
            f"{recipe.name}: {folder.name} cannot have these settings: {str(error).rstrip('.')}.{hint}"
        ) from error
