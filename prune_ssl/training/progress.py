"""Progress: the Trainer's bar, with where the budget stands."""

from typing import Any
from weakref import WeakSet

from transformers import (
    PrinterCallback,
    ProgressCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

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
        shown = {"loss": f"{float(logs['loss']):.3f}"} if "loss" in logs else {}
        for key, value in logs.items():
            if key.startswith("expected_"):
                name = key.removeprefix("expected_")
                shown[name] = f"{100 * value:.0f}% (target {100 * logs['target_' + name]:.0f}%)"
        if shown:
            self.training_bar.set_postfix(shown)


def use_budget_progress(trainer: FiniteTrainer, phase: str) -> None:
    """Replace a Trainer's bar and printed dictionaries by a BudgetProgress for `phase`, also its title."""
    trainer.title = phase
    trainer.remove_callback(PrinterCallback)
    if not trainer.args.disable_tqdm:
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(BudgetProgress(phase))
