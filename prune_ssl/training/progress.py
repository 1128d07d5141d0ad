"""Progress: the Trainer's bar, with where the budget stands, or lines where the output is no terminal."""

import sys
import time
from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

from transformers import (
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.utils.import_utils import is_in_notebook

from prune_ssl.training.finite import FiniteTrainer

_shown: "WeakSet[BudgetProgress]" = WeakSet()
"""Callbacks whose bars may be open."""


def close_bars() -> None:
    """Close the bars of trainings that an error has ended, so that the next line is one of its own."""
    for progress in list(_shown):
        progress.close()


class BudgetProgress(ProgressCallback):
    """A live bar that names its phase and shows the expected budget against its target."""

    training_bar: Any  # tqdm's bar between the begin and the end of training, else None
    prediction_bar: Any  # likewise of evaluation

    def __init__(self, phase: str) -> None:
        super().__init__()
        self.phase = phase
        _shown.add(self)

    def close(self) -> None:
        """Close the bars of training and of evaluation, where they are open."""
        for bar in (self.prediction_bar, self.training_bar):
            if bar is not None:
                bar.close()
        self.prediction_bar = self.training_bar = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Open the bar under the phase's name."""
        ProgressCallback.on_train_begin(self, args, state, control, **kwargs)
        if self.training_bar is not None:
            self.training_bar.set_description(self.phase)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        """Show loss and budget behind the bar instead of printing dictionaries over it."""
        if self.training_bar is None or not logs:
            return
        if shown := standing(logs):
            self.training_bar.set_postfix(shown)

    def on_prediction_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        eval_dataloader: Any = None,
        **kwargs: object,
    ) -> None:
        """Open the bar of an evaluation under its name, and move it on."""
        opened = self.prediction_bar is None
        ProgressCallback.on_prediction_step(self, args, state, control, eval_dataloader, **kwargs)
        if opened and self.prediction_bar is not None:
            self.prediction_bar.set_description("evaluation")


class PlainProgress(TrainerCallback):
    """Lines in place of bars, for files and pipes: at most about ten for each phase."""

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self.began, self.first_step, self.shown_tenth = 0.0, 0, 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Start the clock. A training that is resumed begins at a later step."""
        self.began, self.first_step = time.monotonic(), state.global_step
        self.shown_tenth = 10 * state.global_step // max(state.max_steps, 1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: object,
    ) -> None:
        """Print a line after each tenth of the steps, with the time that is left."""
        tenth = 10 * state.global_step // max(state.max_steps, 1)
        shown = standing(logs or {})
        if not shown or tenth == self.shown_tenth or not state.is_world_process_zero:
            return
        self.shown_tenth = tenth
        done, left = state.global_step - self.first_step, state.max_steps - state.global_step
        seconds = round((time.monotonic() - self.began) * left / max(done, 1))
        parts = [f"{name} {value}" for name, value in shown.items()]
        parts += [f"{seconds // 60}:{seconds % 60:02} left"] if left else []
        line = f"{self.phase}: step {state.global_step} of {state.max_steps}, {', '.join(parts)}"
        print(line, file=sys.stderr, flush=True)


def standing(logs: Mapping[str, float]) -> dict[str, str]:
    """Return the loss and each expected cost beside its target, as they are shown.

    >>> standing({"loss": 1.2345, "expected_macs": 0.71, "target_macs": 0.6})
    {'loss': '1.234', 'macs': '71% (target 60%)'}
    """
    shown = {"loss": f"{float(logs['loss']):.3f}"} if "loss" in logs else {}
    for key, value in logs.items():
        if key.startswith("expected_"):
            name = key.removeprefix("expected_")
            shown[name] = f"{100 * value:.0f}% (target {100 * logs['target_' + name]:.0f}%)"
    return shown


def use_budget_progress(trainer: FiniteTrainer, phase: str) -> None:
    """Replace a Trainer's bar and printed dictionaries by the progress of `phase`, also its title.

    At a terminal and in a notebook this is a BudgetProgress, elsewhere a PlainProgress.
    """
    trainer.title = phase
    trainer.remove_callback(PrinterCallback)
    if not trainer.args.disable_tqdm:
        for each in (ProgressCallback, PlainProgress):  # also those of an earlier call
            trainer.remove_callback(each)
        has_bars = sys.stderr.isatty() or is_in_notebook()
        trainer.add_callback(BudgetProgress(phase) if has_bars else PlainProgress(phase))
