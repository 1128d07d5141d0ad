"""Smoke runs: any recipe from end to end, offline and in seconds, on a tiny model and the shipped words."""

from dataclasses import replace
from importlib import resources
from typing import TypedDict

from prune_ssl.models import FAMILIES
from prune_ssl.recipes.model_config import fields_of
from prune_ssl.recipes.schema import Recipe
from prune_ssl.recipes.sections import StudentPart, TrainPart

STEPS = 8
"""The optimiser steps of each phase: enough to run every line, but not to learn."""

TARGETS = {"speaker_verification": "speaker", "slots": "label|speaker", "joint": "label|speaker"}
"""The column of the shipped words that serves as a task's target. Other tasks take the word (`label`)."""

TINY: dict[str, object] = {
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
"""The config of a model with the family's shape but tiny widths. As in a big model, most of it can be cut."""


class AnyDepth(TypedDict):
    """Settings of distillation that do not depend on the number of layers."""

    teacher: None
    layers: None
    layer_weights: None
    relation_layers: None
    mask_length: int
    enhancement_units: int


ANY_DEPTH: AnyDepth = {
    "teacher": None,
    "layers": None,
    "layer_weights": None,
    "relation_layers": None,
    "mask_length": 2,
    "enhancement_units": 8,
}
"""Settings of distillation that fit any depth and the few frames of the tiny model."""

XVECTOR: dict[str, object] = {"tdnn_dim": [8, 8, 8, 8, 8], "xvector_output_dim": 16}
"""The tiny config of an x-vector head."""


def smoke_version(recipe: Recipe) -> Recipe:
    """Return the recipe with its family, task and method, but with a tiny model, shipped words and few steps.

    The numbers of such a run show only that every stage has run.
    """
    words = resources.files("prune_ssl") / "assets" / "words"
    sizes = _tiny(recipe.model.family) | (XVECTOR if recipe.task in ("speaker_verification", "joint") else {})
    corruption, augment = recipe.data.corruption, recipe.data.augment
    changes: dict[str, object] = {
        "model": recipe.model.model_copy(update={"name": None, "config": sizes, "tokenizer": None}),
        "data": recipe.data.model_copy(
            update={
                "path": str(words),
                "stream": None,
                "target": TARGETS.get(recipe.task, "label"),
                "trials": None,
                "loss_weights": (),
                "fills": None,
                "also": None,
                "batch_seconds": recipe.data.batch_seconds and 8.0,
                "min_seconds": 0.0,
                "augment": augment and replace(augment, noise=None, rirs=None),
                "corruption": corruption and replace(corruption, noise=None, rirs=None),
            }
        ),
        "dense": _short(recipe.dense) if recipe.task != "representation" else None,
        "pruning": recipe.pruning
        and replace(recipe.pruning, steps=STEPS, recovery=1.0, round_to=2, seconds=1.0),
        "student": recipe.student and _small_student(recipe.student),
        "distillation": recipe.distillation and replace(recipe.distillation, **ANY_DEPTH),
        "decoding": None,  # the language model is the user's own
        "report": recipe.report.model_copy(
            update={"seconds": (1.0,), "threads": (1,), "iterations": 3, "min_seconds": 0.0}
        ),
        "batch_size": 8,
        "eval_batch_size": 32,
        "gradient_accumulation": 1,
        "bf16": False,
        "compile": False,
    }
    return recipe.model_copy(update=changes)


def _tiny(name: str) -> dict[str, object]:
    """Return the sizes of a tiny model that a family's config has, by the names that it has for them."""
    family = FAMILIES[name]
    own = {**family.stock("config").attribute_map, "intermediate_size": family.ffn_field}
    known = fields_of(name)
    sizes = {own.get(field, field): value for field, value in TINY.items()}
    return {field: value for field, value in sizes.items() if field in known} | family.input.tiny()


def _short(part: TrainPart | None) -> TrainPart:
    """Return dense training of a few steps, even if the recipe starts from a trained model."""
    if part is None:
        return TrainPart(steps=STEPS, learning_rate=1e-3)
    return replace(part, steps=STEPS)


def _small_student(part: StudentPart) -> StudentPart:
    """Return a student of the same kind for the tiny model: its choices stay, its sizes shrink.

    It is smaller than its teacher: narrower if its widths are given, otherwise of one layer.
    """
    return replace(
        part,
        name=None,
        layers=1 if part.layers is not None or part.hidden_size is None else None,
        hidden_size=16 if part.hidden_size is not None else None,
        intermediate_size=32 if part.intermediate_size is not None else None,
        num_attention_heads=None,
        steps=STEPS,
        seconds=1.0,
    )
