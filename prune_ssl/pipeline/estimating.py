"""Estimate the steps, the time, the memory and the disk of a recipe's training, before it is run."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from prune_ssl.pipeline.control import steps_of_control
from prune_ssl.pipeline.folders import bytes_of_run
from prune_ssl.pipeline.preparation import Ready, Say, copy_of, prepare
from prune_ssl.pipeline.student import new_student, student_part
from prune_ssl.recipes import Recipe, pruning_part
from prune_ssl.recipes.smoke import smoke_version
from prune_ssl.training import DistillationTrainer, PruningTrainer
from prune_ssl.writing import temporary_folder

TIMED = 3
"""Steps that are made of each phase. The first one is not timed: memory is reserved in it."""


@dataclass(frozen=True)
class Phase:
    """The estimate of one phase of training on this machine."""

    name: str
    """`dense`, `pruning` (with recovery), `student` or `control`."""
    steps: int
    """The optimiser steps of the phase."""
    seconds_per_step: float
    """The median of the timed steps."""
    peak_bytes: int | None
    """The peak of the GPU's memory in those steps. None: on other devices it is not measured."""

    @property
    def seconds(self) -> float:
        """The time of all steps, without evaluation and reports."""
        return self.steps * self.seconds_per_step


@dataclass(frozen=True)
class Estimate:
    """The estimate of a run."""

    phases: tuple[Phase, ...]
    disk_bytes: int
    """The most that models and checkpoints need on the disk."""

    @property
    def seconds(self) -> float:
        """The time of all phases."""
        return sum(phase.seconds for phase in self.phases)


def estimate(recipe: Recipe, say: Say = print) -> Estimate:
    """Make a few steps of every phase that a recipe has, and say what the whole run will need.

    Batches are those of the recipe's data. Nothing is kept or written to the output folder. Recovery is
    counted with the time of a step of gate training, which is a little longer, and so are other methods.

    Args:
        recipe: The recipe.
        say: Called with one line for each phase.

    Raises:
        PruneError: `run` would raise it before any training.
    """
    recipe = smoke_version(recipe) if recipe.smoke else recipe
    ready = prepare(recipe, True, say, only_check=True)
    phases = []
    for name, steps, make in _phases(recipe, ready):
        phase = _timed(name, steps, make)
        phases.append(phase)
        memory = "" if phase.peak_bytes is None else f", peak {phase.peak_bytes / 1e9:.1f} GB"
        words = f"{name} and recovery" if name == "pruning" else name
        say(f"  {words}: {steps} steps of {phase.seconds_per_step:.2f} s: {_duration(phase.seconds)}{memory}")
    found = Estimate(tuple(phases), bytes_of_run(recipe, ready.model))
    say(
        f"Estimate: {_duration(found.seconds)} of training on this machine, without evaluation and reports; "
        f"{_size(found.disk_bytes)} of disk"
    )
    return found


Make = Callable[[Mapping[str, Any]], Trainer]
"""Makes the trainer of a phase with changed settings of its TrainingArguments."""


def _phases(recipe: Recipe, ready: Ready) -> list[tuple[str, int, Make]]:
    """Return the name, the steps and the trainer of each phase."""
    found: list[tuple[str, int, Make]] = []
    if recipe.dense is not None:
        data = {"train_dataset": ready.corpus.training(ready.task, to_teach_clean=ready.losses is not None)}

        def dense(changes: Mapping[str, Any]) -> Trainer:
            return DistillationTrainer(
                model=copy_of(ready.model), **_settings(ready, "dense", changes) | data
            )

        found.append(("dense", recipe.dense.steps, dense))
    if recipe.student is not None:

        def student(changes: Mapping[str, Any]) -> Trainer:
            return DistillationTrainer(
                model=new_student(student_part(recipe), ready.model, ready.task),
                distillation=ready.losses,
                teacher=ready.teacher or copy_of(ready.model),
                **_settings(ready, "student", changes),
            )

        found.append(("student", recipe.student.steps, student))
    if ready.pruning is not None:
        config = ready.pruning

        def pruning(changes: Mapping[str, Any]) -> Trainer:
            return PruningTrainer(
                model=copy_of(ready.model),
                pruning=replace(config, method="gates", milestones=()),
                distillation=ready.losses,
                teacher=ready.teacher,
                **_settings(ready, "pruning", changes),
            )

        steps = steps_of_control(ready, config, pruning_part(recipe).steps)
        found.append(("pruning", steps, pruning))
        if recipe.control:
            found.append(("control", steps, pruning))
    return found


def _settings(ready: Ready, phase: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    return {**ready.shared, "args": replace(ready.arguments[phase], **changes), "eval_dataset": None}


def _timed(name: str, steps: int, make: Make) -> Phase:
    """Make a few steps of a phase in a folder that is deleted afterwards."""
    with temporary_folder() as folder:
        trainer = make(
            {
                "output_dir": str(folder),
                "max_steps": TIMED,
                "save_strategy": "no",
                "logging_strategy": "no",
                "disable_tqdm": True,
            }
        )
        clock = _Clock()
        trainer.add_callback(clock)
        trainer.train()
    return Phase(name, steps, median(clock.seconds[1:]), clock.peak)


class _Clock(TrainerCallback):
    """Times the steps of a trainer, and reads the peak of the GPU's memory."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.peak: int | None = None
        self._start = 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Start the clock."""
        if args.device.type == "cuda":
            torch.cuda.synchronize(args.device)
        self._start = time.perf_counter()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Stop the clock."""
        if args.device.type == "cuda":
            torch.cuda.synchronize(args.device)
            self.peak = torch.cuda.max_memory_allocated(args.device)
        self.seconds.append(time.perf_counter() - self._start)


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
