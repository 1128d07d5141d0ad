"""The methods without gates: cuts by a criterion with training after each, and how a run of them resumes."""

import inspect
from collections.abc import Iterator
from itertools import islice
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, cast

from torch import nn
from transformers import set_seed

from prune_ssl.resizing import resize
from prune_ssl.selection.calibration import Batch
from prune_ssl.training.checkpoints import load_cut, save_cut
from prune_ssl.training.cutting import CALIBRATION_BATCHES, Cut, budget_of_round, cut, rounds_of
from prune_ssl.training.finite import require_finite_batch
from prune_ssl.training.manifest import told_as_damaged
from prune_ssl.writing import remove

if TYPE_CHECKING:
    from prune_ssl.training.trainer import PruningTrainer

CUT_FILE = "cut.safetensors"


def train_in_rounds(trainer: "PruningTrainer", resume: bool) -> tuple[Cut, int]:
    """Cut the trainer's model by its criterion and train what is left, round by round.

    Where the trainer writes checkpoints the newest cut is put aside before its training: `resume` goes on
    from there, and from the last checkpoint of that round.

    Returns:
        What the last round left, trained, and the steps of all rounds.
    """
    steps, aside = rounds_of(trainer.pruning, planned_steps(trainer)), _folder(trainer) / CUT_FILE
    resume = resume and aside.is_file()
    assert isinstance(trainer.model, nn.Module)
    made, first = _taken_up(trainer, aside) if resume else (Cut(trainer.model, {}), 0)
    if not resume:
        _forget_earlier_run(trainer, aside, len(steps))
        trainer.evaluate_dense()
    for index in range(first, len(steps)):
        going_on = resume and index == first
        if not going_on:
            made = _cut_further(trainer, made, index, len(steps))
            _put_aside(trainer, aside, made, index)
        made = _trained(trainer, made, steps, index, going_on)
    return made, sum(steps)


def _folder(trainer: "PruningTrainer") -> Path:
    return Path(trainer.args.output_dir or ".")


def _forget_earlier_run(trainer: "PruningTrainer", aside: Path, rounds: int) -> None:
    """Drop what a later `resume` would else take for this run's."""
    remove(aside)
    if trainer.args.save_strategy != "no":
        for name in (*map(_name, range(rounds)), "recovery"):
            remove(_folder(trainer) / name)


def _name(index: int) -> str:
    return f"round-{index + 1}"


def planned_steps(trainer: "PruningTrainer") -> int:
    """Return the optimiser steps that the arguments ask for."""
    args = trainer.args
    if args.max_steps > 0:
        return args.max_steps
    batches = ceil(len(trainer.get_train_dataloader()) / args.gradient_accumulation_steps)
    return ceil(batches * args.num_train_epochs)


def _cut_further(trainer: "PruningTrainer", made: Cut, index: int, rounds: int) -> Cut:
    """Make cut `index`; which clips calibrate it does not depend on what was drawn before (resuming)."""
    set_seed(trainer.args.seed)
    budget = budget_of_round(trainer.gates.limits, trainer.pruning, index, rounds)
    batches = _calibration_batches(trainer, made.model)
    return cut(made, trainer.graph, trainer.pruning, budget, batches, measured=rounds == 1)


def _calibration_batches(trainer: "PruningTrainer", model: nn.Module) -> Iterator[Batch]:
    """Yield a few training batches, without what the model's forward does not take."""
    known = inspect.signature(model.forward).parameters
    for batch in islice(trainer.get_train_dataloader(), CALIBRATION_BATCHES):
        require_finite_batch(batch, trainer.train_dataset, "calibration of the cut")
        yield {name: value for name, value in batch.items() if name in known}


def _put_aside(trainer: "PruningTrainer", path: Path, made: Cut, index: int) -> None:
    """Write the cut, if this run writes checkpoints."""
    if trainer.args.save_strategy == "no":
        return
    learned = None if trainer.distiller is None else trainer.distiller.learned
    progress = {"round": index, "results": trainer.results, "history": trainer.history}
    save_cut(path, made, learned, progress)


def _taken_up(trainer: "PruningTrainer", path: Path) -> tuple[Cut, int]:
    """Return the cut that was put aside, and which round is to train it."""
    learned = None if trainer.distiller is None else trainer.distiller.learned
    keep, weights, progress = load_cut(path, learned)
    with told_as_damaged(path):
        model = resize(cast(nn.Module, trainer.model), trainer.graph, keep, inplace=True)
        model.load_state_dict(weights)
        trainer.results, trainer.history = progress["results"], progress["history"]
        return Cut(model, keep), progress["round"]


def _trained(trainer: "PruningTrainer", made: Cut, steps: list[int], index: int, resume: bool) -> Cut:
    """Train what cut `index` left for the steps of its round."""
    if trainer.distiller is not None:
        trainer.distiller.attach(made.model)
    later = trainer.later_trainer(made.model, steps[index], _name(index), trainer.args.learning_rate)
    if index == len(steps) - 1 and trainer.eval_dataset is not None:
        trainer.results["cut"] = later.evaluate(metric_key_prefix="cut")
    later.train(resume_from_checkpoint=resume)
    trainer.note_losses(later, "pruning", sum(steps[:index]))
    return Cut(cast(nn.Module, later.accelerator.unwrap_model(later.model)), made.keep)
