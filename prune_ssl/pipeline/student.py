"""The run of a student: make it from its teacher, distil it, and judge it before and after."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from prune_ssl.distillation import DistillationConfig, Distiller, make_student
from prune_ssl.errors import DistillationError, RecipeError
from prune_ssl.models import backbone_of
from prune_ssl.models.origin import hand_on_origin
from prune_ssl.recipes import Recipe, StudentPart
from prune_ssl.tasks import Task
from prune_ssl.training import DistillationTrainer, Finished
from prune_ssl.training.freezing import Frozen, frozen
from prune_ssl.training.progress import use_budget_progress
from prune_ssl.training.record import PruningRecord


def student_part(recipe: Recipe) -> StudentPart:
    """Return the section `student` of a recipe.

    Raises:
        RecipeError: the recipe has no student.
    """
    if recipe.student is None:
        does = "only fine-tunes" if recipe.only_fine_tunes else "prunes"
        raise RecipeError(f"{recipe.name}: the recipe {does} a model, so it has no `student`.")
    return recipe.student


def new_student(part: StudentPart, teacher: PreTrainedModel, task: Task) -> PreTrainedModel:
    """Make a student with the task's head, and copy the teacher's head if the shapes agree.

    LayerDrop is off in the student, because a skipped layer has no state to compare.

    Raises:
        DistillationError: the teacher lacks a named layer, or the widths do not fit.
    """
    student = make_student(teacher, part)
    student.config.layerdrop = 0.0
    hand_on_origin(teacher, student)
    whole = task.head.put_on(student)
    if part.init == "teacher":
        _copy_head(teacher, whole)
    return whole


@torch.no_grad()
def _copy_head(teacher: PreTrainedModel, student: PreTrainedModel) -> None:
    """Copy every parameter outside the backbone that has the same name and shape."""
    backbone = f"{backbone_of(student)[0]}."
    given = dict(teacher.named_parameters())
    for name, parameter in student.named_parameters():
        if not name.startswith(backbone) and name in given and given[name].shape == parameter.shape:
            parameter.copy_(given[name])


def check_losses(
    config: DistillationConfig, teacher: nn.Module, student: nn.Module, keeps: bool = False
) -> None:
    """Refuse losses that do not fit teacher and student, before any training.

    Args:
        config: The losses.
        teacher: The teacher.
        student: The model that learns from it.
        keeps: Whether the maps between their widths shall be kept.

    Raises:
        DistillationError: the losses do not fit, or nothing is learned that could be kept.
    """
    distiller = Distiller(config, teacher, student)
    distiller.detach()
    if keeps and not distiller.projections.maps:
        raise DistillationError(
            "distillation.keep_projections: nothing maps the student's states to the teacher's width: give "
            "`projection: per_layer`, `shared` or `heads` and a loss on hidden states, or leave it out."
        )


def distil(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    shared: dict[str, Any],
    losses: DistillationConfig | None,
    freeze: Frozen | None = None,
    resume: bool = False,
) -> Finished:
    """Train a student.

    Args:
        student: The student. It is trained in place.
        teacher: The teacher. It is frozen in place.
        shared: The arguments of the trainer: TrainingArguments, data, collator, loss and metrics.
        losses: The losses of distillation.
        freeze: The part of the student that is not trained.
        resume: Whether to continue from the newest checkpoint.

    Returns:
        The student with its results (`student` before, `distilled` after, and `dense` if the teacher's task
        has a metric), and its training losses by step.
    """
    record = PruningRecord()
    if shared["compute_metrics"] is not None and backbone_of(teacher)[1] is not teacher:
        dense = DistillationTrainer(model=teacher, **shared)
        use_budget_progress(dense, "dense")
        record.judge(dense, "dense")
    trainer = DistillationTrainer(model=student, distillation=losses, teacher=teacher, **shared)
    use_budget_progress(trainer, "distillation")
    record.judge(trainer, "student")
    with frozen(student, freeze):
        trainer.train(resume_from_checkpoint=resume)
    record.judge(trainer, "distilled")
    if trainer.distiller is not None:
        trainer.distiller.detach()
    record.note_losses(trainer.state.log_history, "distillation")
    return Finished(
        "",
        student.eval(),
        None,
        record.results,
        history=record.history,
        outcomes=record.outcomes,
        projections=None if trainer.distiller is None else trainer.distiller.projections,
    )
