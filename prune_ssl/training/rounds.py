"""The methods without gates: cuts by a criterion with training after each, and how a run of them resumes."""

from functools import partial
from math import ceil
from pathlib import Path

from prune_ssl.resizing import resize
from prune_ssl.training import phases
from prune_ssl.training.calibrating import calibrated_scores
from prune_ssl.training.checkpoints import load_cut, save_cut
from prune_ssl.training.cutting import Cut, budget_of_round, cut, rounds_of
from prune_ssl.training.manifest import naming_damage
from prune_ssl.training.phases import PruningRun
from prune_ssl.training.processes import from_first, on_first
from prune_ssl.training.resumable import ResumableTrainer
from prune_ssl.writing import remove

CUT_FILE = "cut.safetensors"


def train_in_rounds(run: PruningRun) -> tuple[Cut, int]:
    """Cut the run's model by its criterion and train what is left, round by round.

    Where the run writes checkpoints, it saves the newest cut before its training: `resuming` goes on from
    there, and from the last checkpoint of that round.

    Returns:
        What the last round left, trained, and the steps of all rounds.
    """
    steps, saved = rounds_of(run.config, planned_steps(run.trainer)), run.folder / CUT_FILE
    resume = bool(run.resuming) and from_first(saved.is_file)
    made, first = _load_saved_cut(run, saved) if resume else (Cut(run.model, {}), 0)
    if not resume:
        on_first(lambda: _forget_earlier_run(run, saved, len(steps)))
        phases.evaluate_dense(run)
    for index in range(first, len(steps)):
        going_on = resume and index == first
        if not going_on:
            made = _next_cut(run, made, index, len(steps))
            _save_cut(run, saved, made, index)
        made = _train(run, made, steps, index, going_on)
    return made, sum(steps)


def _forget_earlier_run(run: PruningRun, saved: Path, rounds: int) -> None:
    """Drop what a later `resume` would else take for this run's."""
    remove(saved)
    if run.writes:
        for name in (*map(_name, range(rounds)), phases.RECOVERY):
            remove(run.folder / name)


def _name(index: int) -> str:
    return f"round-{index + 1}"


def planned_steps(trainer: ResumableTrainer) -> int:
    """Return the optimiser steps that the arguments ask for."""
    args = trainer.args
    if args.max_steps > 0:
        return args.max_steps
    batches = ceil(len(trainer.get_train_dataloader()) / args.gradient_accumulation_steps)
    return ceil(batches * args.num_train_epochs)


def _next_cut(run: PruningRun, made: Cut, index: int, rounds: int) -> Cut:
    """Make cut `index`."""
    budget = budget_of_round(run.gates.limits, run.config, index, rounds)
    score = partial(calibrated_scores, run, criterion=run.config.criterion)
    return cut(made, run.graph, run.config, budget, score, measured=rounds == 1)


def _save_cut(run: PruningRun, path: Path, made: Cut, index: int) -> None:
    """Write the cut, if this run writes checkpoints."""
    if not run.writes:
        return
    learned = None if run.distiller is None else run.distiller.learned
    on_first(lambda: save_cut(path, made, learned, {"round": index, **run.record.progress()}))


def _load_saved_cut(run: PruningRun, path: Path) -> tuple[Cut, int]:
    """Return the cut that was saved last, and the index of the round that trains it."""
    learned = None if run.distiller is None else run.distiller.learned
    keep, weights, progress = load_cut(path, learned)
    with naming_damage(path):
        model = resize(run.model, run.graph, keep, inplace=True)
        model.load_state_dict(weights)
        run.record.take(progress)
        return Cut(model, keep), progress["round"]


def _train(run: PruningRun, made: Cut, steps: list[int], index: int, resume: bool) -> Cut:
    """Train the model of cut `index` for the steps of its round."""
    if run.distiller is not None:
        run.distiller.attach(made.model)
    later = phases.later_trainer(run, made.model, steps[index], _name(index), run.learning_rate(made.keep))
    if index == len(steps) - 1 and run.trainer.eval_dataset is not None:
        run.record.judge(later, "cut")
    later.train(resume_from_checkpoint=resume)
    run.record.note_losses(later.state.log_history, "pruning", sum(steps[:index]))
    return Cut(phases.trained_model(later), made.keep)
