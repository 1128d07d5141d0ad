"""Smoke runs: any recipe, end to end, offline in seconds, on a tiny model and the shipped words."""

from importlib import resources
from typing import Any

from prune_ssl.recipes.schema import Recipe, StudentPart, TrainPart

STEPS = 8
"""Optimiser steps of each phase: enough to go through every line, not to learn."""

TARGETS = {"speaker_verification": "speaker", "slots": "label|speaker", "joint": "label|speaker"}
"""Task -> the column of the shipped words that stands for its target; others take the word (`label`)."""

TINY: dict[str, Any] = {
    "conv_dim": [16] * 7,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 320,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 16,
    "mask_time_length": 2,
    "layerdrop": 0.0,
}
"""A model that keeps the family's shape in everything but its widths; most of it can go, as in a big one."""

ANY_DEPTH: dict[str, Any] = {
    "teacher": None,
    "layers": None,
    "layer_weights": None,
    "relation_layers": None,
    "mask_length": 2,
    "enhancement_units": 8,
}
"""Settings of distillation that fit any depth, and the tiny model's frames."""

XVECTOR: dict[str, Any] = {"tdnn_dim": [8, 8, 8, 8, 8], "xvector_output_dim": 16}
"""The same for the x-vector head, where a family has one."""


def smoke_version(recipe: Recipe) -> Recipe:
    """Return the recipe with its family, task and method, but a tiny model, shipped words and few steps.

    What its numbers say is only that every stage ran.
    """
    words = resources.files("prune_ssl") / "assets" / "words"
    sizes = TINY | (XVECTOR if recipe.task in ("speaker_verification", "joint") else {})
    corruption, augment = recipe.data.corruption, recipe.data.augment
    changes: dict[str, Any] = {
        "model": recipe.model.model_copy(update={"name": None, "config": sizes, "tokenizer": None}),
        "data": recipe.data.model_copy(
            update={
                "path": str(words),
                "stream": None,
                "target": TARGETS.get(recipe.task, "label"),
                "trials": None,
                "loss_weights": (),
                "batch_seconds": recipe.data.batch_seconds and 8.0,
                "augment": augment and augment.model_copy(update={"noise": None, "rirs": None}),
                "corruption": corruption and corruption.model_copy(update={"noise": None, "rirs": None}),
            }
        ),
        "dense": _short(recipe.dense) if recipe.task != "representation" else None,
        "pruning": recipe.pruning
        and recipe.pruning.model_copy(
            update={"steps": STEPS, "recovery": 1.0, "round_to": 2, "seconds": 1.0}
        ),
        "student": recipe.student and _small_student(recipe.student),
        "distillation": recipe.distillation and recipe.distillation.model_copy(update=ANY_DEPTH),
        "decoding": None,  # the language model is the user's own
        "report": recipe.report.model_copy(
            update={"seconds": (1.0,), "threads": (1,), "iterations": 3, "min_seconds": 0.0}
        ),
        "batch_size": 8,
        "eval_batch_size": 32,
        "gradient_accumulation": 1,
        "bf16": False,
    }
    return recipe.model_copy(update=changes)


def _short(part: TrainPart | None) -> TrainPart:
    """Return dense training in a few steps, also where the recipe starts from a model that had it."""
    if part is None:
        return TrainPart(steps=STEPS, learning_rate=1e-3)
    return part.model_copy(update={"steps": STEPS})


def _small_student(part: StudentPart) -> StudentPart:
    """Return a student of the same kind beside the tiny model: choices stay, sizes shrink."""
    shape = part.shape
    small = {
        "layers": 1 if shape.layers is not None else None,
        "hidden_size": 16 if shape.hidden_size is not None else None,
        "intermediate_size": 32 if shape.intermediate_size is not None else None,
        "num_attention_heads": None,
    }
    chosen = {name: getattr(shape, name) for name in ("thin_frontend", "projection_norm", "mask_embedding")}
    more = {"reuse": shape.reuse, "init": shape.init, "name": None, "steps": STEPS, "seconds": 1.0}
    return part.model_copy(update={**small, **chosen, **more})
