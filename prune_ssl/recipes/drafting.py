"""Drafts a recipe for a user's model and corpus: only the keys that matter, each with a comment."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from prune_ssl.errors import RecipeError
from prune_ssl.recipes.looking import COLUMNS, CorpusLook, ModelLook
from prune_ssl.recipes.schema import make_recipe
from prune_ssl.recipes.sections import BARE_PERCENT, MAX_SECONDS
from prune_ssl.selection import parse_budget
from prune_ssl.tasks import task_class

BATCH, BATCH_OF_TEXTS = 32, 8
TIMES = 30
"""Gate training goes about so often through the train clips, within LEAST and MOST steps."""
LEAST_STEPS, MOST_STEPS = 500, 10_000
WIDE = 512
"""From this hidden size on, a model learns at the rates of the Base models."""
LONGEST_SECONDS = 20.0
SLOTS = ("slots", "joint")
"""Tasks with several columns, which nobody can guess."""


@dataclass(frozen=True)
class Wishes:
    """What the user asks of a recipe. Empty texts are chosen from the model and the corpus."""

    task: str = ""
    target: str = ""
    """The column or columns to predict."""
    budget: str = "macs=50%"
    name: str = ""


def choose_task(model: ModelLook, corpus: CorpusLook, wishes: Wishes) -> str:
    """Return the asked task, that of the model's head, or the only one that the corpus can feed.

    Raises:
        RecipeError: the task is not known, the corpus can feed several, or it lacks the column of the task.
    """
    task = wishes.task or model.task
    if not task:
        usual = [each for each in corpus.tasks if each in ("classification", "ctc", "phonemes")]
        if len(usual) > 1:
            raise RecipeError(
                f"{model.name} has no head for a task, and {corpus.path} can feed {' and '.join(usual)}: "
                f"give --task {usual[0]} or another."
            )
        task = usual[0] if usual else corpus.tasks[0]
    spec = task_class(task).spec
    if task in SLOTS and not wishes.target:
        raise RecipeError(f"task {task} predicts several columns: give --target, such as 'size|milk'.")
    if spec.target and not wishes.target and not corpus.column_of(task):
        wanted = " or ".join(COLUMNS.get(task, (spec.target,)))
        found = ", ".join(corpus.values) or "file_name alone"
        raise RecipeError(
            f"task {task} wants a column {wanted}, and {corpus.path} has {found}: name the column by "
            "--target, or give another --task."
        )
    return task


def draft_recipe(model: ModelLook, corpus: CorpusLook, wishes: Wishes) -> str:
    """Return the text of a recipe, which has been read back and checked.

    Raises:
        RecipeError: the task cannot be chosen, or the recipe cannot be made.
        BudgetError: the budget cannot be read.
    """
    task = choose_task(model, corpus, wishes)
    budget = full_budget(wishes.budget)
    name = wishes.name or default_name(model, task)
    parts = [
        _head(name, task, model, corpus),
        _model(model),
        _data(task, corpus, wishes),
        _dense(task, model, corpus),
        _pruning(task, budget, model, corpus),
        _distillation(task, model, corpus),
        _rest(task, corpus),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    make_recipe(yaml.safe_load(text), name)
    return text


def full_budget(text: str) -> str:
    """Return a budget in which a bare percentage is written as one of MACs.

    Raises:
        BudgetError: the budget cannot be read.

    >>> full_budget("50%")
    'macs=50%'
    """
    budget = f"macs={text.strip()}" if BARE_PERCENT.fullmatch(text) else text
    parse_budget(budget)
    return budget


def default_name(model: ModelLook, task: str) -> str:
    """Return a name for the recipe of a model: that of its folder, and the task."""
    stem = re.sub(r"[^\w.-]+", "_", Path(model.name).resolve().name if Path(model.name).exists() else "")
    stem = stem or re.sub(r"[^\w.-]+", "_", model.name.rpartition("/")[2])
    return f"{stem}_{task}"[:80]


def is_trained(task: str, model: ModelLook, corpus: CorpusLook) -> bool:
    """Return whether the model has the head of the task, for a classifier with the labels of the corpus."""
    if model.task != task:
        return False
    column = corpus.column_of(task)
    return task != "classification" or set(corpus.values.get(column, {})) <= set(model.labels)


def _head(name: str, task: str, model: ModelLook, corpus: CorpusLook) -> str:
    kind = model.kind or model.family
    return "\n".join(
        [
            f"# {kind} on {corpus.clips['train']:,} train clips of about {corpus.seconds:.2g} s.",
            "# Written by prune-ssl init.",
            "# The meaning of every key: docs/recipes.md. To change one for a single run, add it: seed=1",
            f"name: {_text(name)}",
            f"task: {task}",
        ]
    )


def _model(model: ModelLook) -> str:
    lines = ["model:", f"  name: {_text(model.name)}"]
    if model.pruned:
        lines.append("  allow_pruned: true # it is pruned already; the budget refers to it as it is now")
    return "\n".join(lines)


def _data(task: str, corpus: CorpusLook, wishes: Wishes) -> str:
    lines = ["data:", f"  path: {_text(corpus.path)}"]
    target = wishes.target or corpus.column_of(task)
    if target and target != task_class(task).spec.target:
        lines.append(f"  target: {_text(target)} # the column to predict")
    if _is_long(corpus):
        fate = "left out of train" if task in ("ctc", "phonemes") else "cut"
        lines.append(f"  max_seconds: {LONGEST_SECONDS:g} # longer clips are {fate}")
    if task in ("ctc", "phonemes", "speaker_verification"):
        lines.append("  group_by_length: true # clips of similar length in a batch need less padding")
    return "\n".join(lines)


def _is_long(corpus: CorpusLook) -> bool:
    return corpus.longest > MAX_SECONDS


def _dense(task: str, model: ModelLook, corpus: CorpusLook) -> str:
    if task == "representation":
        return ""
    if is_trained(task, model, corpus):
        return "dense: null # the model is trained already: its head is kept, and it is judged as it is"
    reason = "it has no head for the task" if model.task != task else "its labels are not those of the corpus"
    rate = ("1.0e-4" if task in ("ctc", "phonemes") else "3.0e-5") if model.width >= WIDE else "1.0e-3"
    return "\n".join(
        [
            f"dense: # the model is fine-tuned first: {reason}",
            f"  steps: {_steps(task, corpus)}",
            f"  learning_rate: {rate}",
        ]
    )


def _pruning(task: str, budget: str, model: ModelLook, corpus: CorpusLook) -> str:
    rate = "3.0e-5" if model.width >= WIDE else "3.0e-4"
    return "\n".join(
        [
            "pruning:",
            f"  budget: {_text(budget)} # kept, of the dense model: macs=, params=, memory= or latency=",
            f"  steps: {_steps(task, corpus)} # of gate training; more steps lose less",
            f"  learning_rate: {rate}",
            "  recovery: 1.0 # after the cut, train again this many times as long",
            f"  seconds: {_length(corpus)} # the audio length at which MACs are counted: a usual clip",
        ]
    )


def _distillation(task: str, model: ModelLook, corpus: CorpusLook) -> str:
    if task == "representation":
        losses, weight, why = "{l1: 1.0, cosine: 1.0}", "0", "without labels, the dense model's states teach"
    elif task in ("ctc", "phonemes", "classification"):
        losses, weight, why = "{logits: 1.0}", "0.5", "the dense model's outputs teach, beside the labels"
    else:
        return ""
    return f"distillation: # {why}\n  losses: {losses}\n  task_weight: {weight}"


def _rest(task: str, corpus: CorpusLook) -> str:
    return "\n".join(
        [
            f"batch_size: {_batch(task, corpus)} # halve it if memory is short",
            "checkpoint_steps: 1000 # a run that was stopped goes on with --resume",
            "seed: 0",
            "output: runs/{name}-{seed}",
        ]
    )


def _batch(task: str, corpus: CorpusLook) -> int:
    return BATCH_OF_TEXTS if task in ("ctc", "phonemes") or _is_long(corpus) else BATCH


def _steps(task: str, corpus: CorpusLook) -> int:
    wanted = TIMES * corpus.clips["train"] / _batch(task, corpus)
    return max(LEAST_STEPS, min(MOST_STEPS, round(wanted / 100) * 100))


def _length(corpus: CorpusLook) -> str:
    return f"{max(0.1, float(f'{corpus.seconds:.2g}')):g}"


def _text(text: str) -> str:
    """Return a text as YAML: plain where it reads back as itself, else in quotes."""
    plain = re.fullmatch(r"[\w./=%-]+", text) is not None and yaml.safe_load(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)
