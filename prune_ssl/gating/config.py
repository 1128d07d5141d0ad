"""PruningConfig: what to prune to, and how the gates learn it."""

from dataclasses import dataclass
from typing import Literal

from prune_ssl.errors import BudgetError
from prune_ssl.selection import KINDS, UNIT_KINDS, parse_budget


@dataclass(frozen=True, kw_only=True)
class PruningConfig:
    """Settings of gate training and of the final cut; checked when made."""

    budget: str
    """What is kept: `macs=50%` is HJ-Pruning-MAC, `params=25M` HJ-Pruning-Size."""
    kinds: tuple[str, ...] = UNIT_KINDS
    """Kinds of units that may go, of `KINDS`."""
    round_to: int = 8
    """Conv and FFN widths become multiples of this (heads are whole)."""
    seconds: float = 10.0
    """Audio length at which MACs are counted."""
    steps: int | None = None
    """Optimiser steps of gate training; PruningTrainer fills it in, other loops must say."""
    warmup: float = 0.6
    """Part of the steps over which the target falls from the start to the budget."""
    gate_learning_rate: float | None = None
    """Adam step of the gates' log_alpha; None: from the number of steps."""
    initial_keep: float | None = None
    """Probability that a gate is open at the start; None: from the number of steps."""
    recovery: float = 1.0
    """Steps of recovery fine-tuning after the cut, as a multiple of the gate training steps."""
    recovery_learning_rate: float | None = None
    """Peak learning rate of recovery; None: that of the TrainingArguments."""
    layout: Literal["hetero"] = "hetero"
    """Artifact layout that the keep must fit; `stock` is not there yet."""

    def __post_init__(self) -> None:
        parse_budget(self.budget)
        object.__setattr__(self, "kinds", tuple(self.kinds))
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            raise BudgetError(f"kinds: found {list(self.kinds)}, wanted some of {', '.join(KINDS)}.")
        if self.layout != "hetero":
            raise BudgetError(f"layout: found {self.layout!r}; only 'hetero' is supported so far.")
        for name, holds, wanted in (
            ("round_to", self.round_to >= 1, "1 or more"),
            ("seconds", self.seconds > 0, "above 0"),
            ("steps", self.steps is None or self.steps >= 1, "1 or more"),
            ("warmup", 0 <= self.warmup <= 1, "from 0 to 1"),
            ("recovery", self.recovery >= 0, "0 or more"),
            ("initial_keep", self.initial_keep is None or 0.5 < self.initial_keep < 1, "between 0.5 and 1"),
            ("gate_learning_rate", self.gate_learning_rate is None or self.gate_learning_rate > 0, "above 0"),
        ):
            if not holds:
                raise BudgetError(f"{name}: found {getattr(self, name)}, wanted {wanted}.")
