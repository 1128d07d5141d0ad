"""Learning: counts the evidence that gates got, and refuses or doubts a cut after too little of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from prune_ssl.errors import GatingError

FAR = 0.05
"""Part of the dense cost; an expected cost further from its budget has not followed the target."""
EARLY = 0.9
"""Part of the planned steps; after fewer, training was stopped early."""
MISSED = 0.1
"""Part of the steps; with more of them in evaluation mode, somebody forgot model.train()."""
STUCK = 10
"""Calls of `penalty` with the same step though the gates have moved."""

TRAIN_MODE = (
    "the gates were never drawn: the gated model ran in evaluation mode, as from_pretrained leaves it. Call "
    "model.train() before the loop, and again after each model.eval()"
)
AS_THEY_ARE = "To cut by gates as they are all the same: finalize(untrained=True)."


@dataclass
class Learning:
    """Counts since the gates were planned; part of their checkpoint."""

    drawn: int = 0
    """Forward passes with gates drawn at random."""
    whole: int = 0
    """Passes with gradients and the model in evaluation mode, so that no gates were drawn."""
    held: int = 0
    """Training passes with gates that `hold` had fixed."""
    pulled: int = 0
    """Backward passes that brought the task's gradient to the gates."""
    asked: int = 0
    """Calls of `penalty`."""
    returned: int = 0
    """Backward passes through the penalty."""
    first: int | None = None
    """The step of the first call of `penalty`."""
    last: int = 0
    """The step of the latest call."""
    missed: int = 0
    """Calls of `penalty` before which the model ran in evaluation mode only, since the call before."""
    stuck: int = 0
    """Successive calls of `penalty` with the step of the call before, though the gates had moved."""

    def __post_init__(self) -> None:
        self._seen = (self.drawn, self.whole)  # at the last call of `penalty`; no field, so never saved

    def note_pass(self, training: bool, held: bool, gradients: bool) -> None:
        """Count a forward pass of the gated model."""
        self.held += training and held
        self.drawn += training and gradients and not held
        self.whole += gradients and not training and not held

    def note_pulled(self, _gradient: torch.Tensor) -> None:
        """Count a backward pass that brought the task's gradient to the gates."""
        self.pulled += 1

    def note_returned(self, _gradient: torch.Tensor) -> None:
        """Count a backward pass through the penalty."""
        self.returned += 1

    def note_asked(self, step: int, moved: bool) -> None:
        """Count a call of `penalty`.

        Args:
            step: the step that the call got.
            moved: whether the gates have changed since the last call.
        """
        drawn, whole = self._seen
        self.missed += self.asked > 0 and self.drawn == drawn and self.whole > whole
        self._seen = (self.drawn, self.whole)
        self.stuck = self.stuck + moved if self.asked and step == self.last else 0
        self.first = step if self.first is None else self.first
        self.asked, self.last = self.asked + 1, step

    def require(self, moved: bool, steps: int) -> None:
        """Refuse a cut by gates that had nothing to learn from; gates that were set by hand pass.

        Args:
            moved: whether a gate has left its value of the start.
            steps: the planned steps.

        Raises:
            GatingError: the gates were never drawn, or the task or the budget never reached them, or none has
                moved.
        """
        if moved and not self.drawn and not self.asked:
            return  # no optimiser can have moved them: they were set by hand, or loaded
        problem = next(self._problems(moved, steps), None)
        if problem is not None:
            raise GatingError(f"finalize: {problem}. {AS_THEY_ARE}")

    def _problems(self, moved: bool, steps: int) -> Iterator[str]:
        if not self.drawn and self.held:
            yield (
                "the gates were held during training, so they learned nothing: call gates.hold(None) before "
                "the loop"
            )
        if not self.drawn and self.whole:
            yield TRAIN_MODE
        if not self.drawn:
            yield (
                "the gates were never drawn: the gated model has run no forward pass in training mode with "
                "gradients. Train the very model that attach_gates was given, after model.train(), and "
                "detach the gates only after finalize()"
            )
        if not self.asked:
            yield "penalty(step) was never called, so the gates know of no budget: add it to the loss"
        if not self.returned:
            yield (
                f"penalty was called {self.asked} times, but no backward pass went through it: add its "
                "result to the loss of which backward() is called, outside torch.no_grad()"
            )
        if not self.pulled:
            yield (
                "the task's loss never reached the gates, which know of the budget only: add the loss of "
                "the gated model to the loss of which backward() is called"
            )
        if not moved:
            yield (
                "no gate has moved since the start: give gates.parameter_groups() to the optimiser, with "
                "learning rates above 0, and call its step() before the cut"
            )
        if self.asked > 1 and steps > 1 and self.stuck and self.first == self.last:
            yield (
                f"penalty was called {self.asked} times, always with step {self.last}, so the target has "
                "never moved: give it the number of the optimiser step, 0, 1, 2, ..."
            )

    def doubts(self, steps: int) -> Iterator[str]:
        """Yield the reasons to doubt that gates have learned enough.

        Args:
            steps: the planned steps.
        """
        done = self.last + 1
        if done < EARLY * steps:
            yield (
                f"gate training was stopped after {done} of {steps} planned steps, before the target came to "
                "the budget: train to the end, or give the number of steps that are trained "
                "(PruningConfig.steps, max_steps)"
            )
        if self.missed > MISSED * self.asked:
            yield (
                f"in {self.missed} of {self.asked} steps no gates were drawn, as the model was in evaluation "
                "mode: call model.train() again after each evaluation"
            )


def far_from_budget(name: str, expected: float, wanted: float) -> str | None:
    """Return a warning if the expected cost is far from the budget; both are fractions of the dense cost."""
    if abs(expected - wanted) <= FAR:
        return None
    return (
        f"at the cut the gates expected {100 * expected:.0f}% of the dense {name}, the budget is "
        f"{100 * wanted:.0f}%: the rest was decided by the final projection, not by training. Train for more "
        "steps, and see that penalty(step) is in every loss and step counts to the planned steps"
    )
