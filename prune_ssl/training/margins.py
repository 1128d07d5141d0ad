"""MarginRamp: the margin of a speaker loss rises during training, so that a model from scratch can start."""

from typing import Protocol, runtime_checkable

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

START, END = 0.4, 0.8
"""Parts of the steps between which the margin rises from 0 to its full value."""


@runtime_checkable
class WithMargin(Protocol):
    """A loss module with a margin."""

    margin: float


class MarginRamp(TrainerCallback):
    """Trains AM-softmax as a plain softmax of scaled cosines first, then with more and more margin.

    With a scale of 30 and a margin of 0.4 from the first step, embeddings that all point the same way are a
    stable rest of a fresh model: a loss of log(speakers) + 12 that does not move. Common practice; for
    instance the margin scheduler of WeSpeaker (Wang et al., ICASSP 2023).

    Args:
        objective: the loss module with a `margin`, such as transformers' AMSoftmaxLoss; it has its full
            margin again after training.
    """

    def __init__(self, objective: WithMargin) -> None:
        self.objective = objective
        self.full = float(objective.margin)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Set the margin of this step."""
        done = state.global_step / max(state.max_steps, 1)
        self.objective.margin = self.full * min(max((done - START) / (END - START), 0.0), 1.0)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Put the full margin back."""
        self.objective.margin = self.full
