"""PruningConfig: the budget of a run, and the way in which the units to keep are learned or scored."""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from prune_ssl.errors import BudgetError
from prune_ssl.fields_in_help import with_fields
from prune_ssl.gating.schedule import SHAPES, learning_rate_factor
from prune_ssl.models.arguments import check_types, shown
from prune_ssl.selection import (
    CRITERIA,
    STOCK_KINDS,
    UNIT_KINDS,
    Bounds,
    Budget,
    Layout,
    Normalise,
    as_budget,
    bounds_of,
    check_kinds,
)
from prune_ssl.tracing import PruningGraph

LOW_BUDGET = 0.2
"""Below this part of a cost the widths of all layers are small, and hidden dimensions are worth their cost.

On arabic_commands at 12% of the MACs, hidden dimensions and a start in the order of Taylor scores together
gave 4 points on validation. Each alone gave at most one, and at 25% neither gave any.
"""

EQUAL = "equal"
"""The `gate_start` of gates that all start alike."""


@with_fields
@dataclass(frozen=True, kw_only=True)
class PruningConfig:
    """Settings of gate training and of the final cut; they are checked when the config is made."""

    budget: str | Budget
    """The cost to keep: `macs=50%` is HJ-Pruning-MAC, `params=25M` HJ-Pruning-Size."""
    milestones: tuple[str | Budget, ...] = ()
    """Larger budgets before `budget`; each gives a model of its own (a progressive run)."""
    preset: Literal["tuned", "hj_pruning"] = "tuned"
    """Where the settings come from that are not given. `tuned`: the best that this project has measured; the
    learning rate of the weights is higher after a cut (`rate_factor`). `hj_pruning`: the plain settings of
    the paper; the rate is the same in all phases."""
    method: Literal["gates", "iterative", "one_shot", "auto"] = "gates"
    """Learned gates, or cuts by `criterion`: several cuts with training between, or one before training.
    `auto`, in recipes, tries several for a few steps and takes the best on validation clips."""
    criterion: str = "magnitude"
    """The score of units, for the methods without gates."""
    normalise: Normalise = "cost"
    """`cost`: scores are divided by the cost saved before they are compared; `none`: they are not."""
    isomorphic: bool = False
    """Whether units are compared by rank within their kind, so that kinds are cut about equally."""
    rounds: int = 5
    """The number of cuts of the iterative method."""
    kinds: tuple[str, ...] = ()
    """Kinds of units that may go, of `KINDS`. Empty: conv, heads and ffn, and for gates with preset `tuned`
    also hidden, if the budget keeps less than 20% of a cost and nothing is distilled."""
    default_kinds: bool = field(init=False, default=False, repr=False)
    """Whether `kinds` was left to the preset."""
    round_to: int = 8
    """Conv and FFN widths become multiples of this (heads are whole)."""
    seconds: float = 10.0
    """Audio length at which MACs are counted."""
    steps: int | None = None
    """Optimiser steps of gate training. PruningTrainer fills it in; other loops must give it."""
    warmup: float | None = None
    """Part of the steps over which the target falls to the budget; None: it follows from the steps."""
    schedule: Literal["linear", "cubic", "sigmoid"] = "linear"
    """The shape in which the target falls."""
    gate_learning_rate: float | None = None
    """Learning rate of the gates' log_alpha; None: it follows from the number of steps."""
    gate_start: str | None = None
    """The criterion in whose order the gates of each group start, or `equal`: all start alike. None: `taylor`
    with preset `tuned`, if the budget keeps less than 20% of a cost and the model has a loss of its own on
    its batches; else `equal`."""
    initial_keep: float | None = None
    """Probability that a gate is open at the start; None: it follows from the number of steps."""
    recovery: float = 1.0
    """Steps of recovery fine-tuning after the cut, as a multiple of the gate training steps."""
    recovery_learning_rate: float | None = None
    """Peak learning rate of recovery; None: the rate in the TrainingArguments, times `rate_factor`."""
    recovery_warmup_ratio: float | None = None
    """Share of recovery's steps in which its rate rises from 0; None: as the TrainingArguments say."""
    layout: Layout = "hetero"
    """`stock`: the result is of the stock class, and only conv channels, FFN neurons and layers may go."""

    def __post_init__(self) -> None:
        check_types(self, BudgetError, but=("budget", "milestones", "criterion"))
        given: object = self.milestones
        if not isinstance(given, list | tuple):
            raise BudgetError(f"milestones: found {shown(given)}, wanted a list of budgets.")
        object.__setattr__(self, "milestones", tuple(given))
        _check_milestones([*self.milestones, self.budget])
        _check_choice("preset", self.preset, ("tuned", "hj_pruning"))
        _check_choice("method", self.method, ("gates", "iterative", "one_shot", "auto"))
        if self.milestones and self.method != "gates":
            raise BudgetError(f"milestones: method {self.method!r} has none; they need method 'gates'.")
        _check_choice("schedule", self.schedule, tuple(SHAPES))
        if self.gate_start is not None:
            _check_choice("gate_start", self.gate_start, (EQUAL, *CRITERIA))
        _check_choice("criterion", self.criterion, tuple(CRITERIA))
        object.__setattr__(self, "default_kinds", not self.kinds)
        wide = self.low_budget and self.method in ("gates", "auto")
        default = (*UNIT_KINDS, "hidden") if wide else UNIT_KINDS
        object.__setattr__(self, "kinds", tuple(self.kinds) or default)
        check_kinds(self.kinds)
        _check_choice("normalise", self.normalise, ("cost", "none"))
        _check_choice("layout", self.layout, ("hetero", "stock"))
        if self.layout == "stock":
            object.__setattr__(self, "kinds", _stock_kinds(self.kinds))
        for name, holds, wanted in (
            ("round_to", self.round_to >= 1, "1 or more"),
            ("rounds", self.rounds >= 1, "1 or more"),
            ("seconds", self.seconds > 0, "above 0"),
            ("steps", self.steps is None or self.steps >= 1, "1 or more"),
            ("warmup", self.warmup is None or 0 <= self.warmup <= 1, "from 0 to 1"),
            ("recovery", self.recovery >= 0, "0 or more"),
            (
                "recovery_warmup_ratio",
                self.recovery_warmup_ratio is None or 0 <= self.recovery_warmup_ratio < 1,
                "from 0 to below 1",
            ),
            ("initial_keep", self.initial_keep is None or 0.5 < self.initial_keep < 1, "between 0.5 and 1"),
            ("gate_learning_rate", self.gate_learning_rate is None or self.gate_learning_rate > 0, "above 0"),
        ):
            if not holds:
                raise BudgetError(f"{name}: found {getattr(self, name)}, wanted {wanted}.")

    @property
    def low_budget(self) -> bool:
        """Whether preset `tuned` treats the budget as a low one: it keeps less than 20% of a cost.

        Only costs of the whole model count that hidden dimensions have a price in; a latency does not know
        them, and a section has its own.
        """
        whole = [each for each in as_budget(self.budget) if not each.section and each.metric != "latency"]
        known = [constraint.fraction for constraint in whole if constraint.fraction is not None]
        return self.preset == "tuned" and min(known, default=1.0) < LOW_BUDGET

    def without_hidden(self) -> "PruningConfig":
        """Return the config without kind `hidden`, if only the preset has added it."""
        return replace(self, kinds=UNIT_KINDS) if self.default_kinds and "hidden" in self.kinds else self

    def rate_factor(self, kept: float) -> float:
        """Return the factor on the learning rate of the weights of a model cut to a part of its cost.

        Args:
            kept: the part of the dense cost, above 0.
        """
        return learning_rate_factor(kept) if self.preset == "tuned" else 1.0

    def bounds(self, graph: PruningGraph, budget: str | Budget | None = None) -> Bounds:
        """Return the budget resolved for the model of `graph`, with the widths that its groups may end with.

        Args:
            graph: the traced model.
            budget: the budget to resolve instead of `self.budget`, such as one of `milestones`.

        Raises:
            BudgetError: the budget cannot be met; the message gives the reachable range.
        """
        asked = self.budget if budget is None else budget
        return bounds_of(graph, asked, self.round_to, self.kinds, self.layout, self.seconds)


def _stock_kinds(kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Return the kinds that a stock config can state; the default has heads too, so they are no mistake."""
    left = tuple(kind for kind in kinds if kind in STOCK_KINDS)
    if not left:
        raise BudgetError(
            f"kinds: layout 'stock' can prune {', '.join(STOCK_KINDS)}, found {list(kinds)}; add one of them."
        )
    return left


def _check_choice(name: str, found: str, wanted: tuple[str, ...]) -> None:
    if found not in wanted:
        raise BudgetError(f"{name}: found {found!r}, wanted one of {', '.join(wanted)}.")


def _check_milestones(texts: list[str | Budget]) -> None:
    """Refuse budgets of one run that constrain different things, or do not get smaller."""
    budgets = [as_budget(text) for text in texts]
    for before, after in pairwise(budgets):
        if [each.kind for each in before] != [each.kind for each in after]:
            raise BudgetError(
                "milestones and budget must constrain the same quantities in the same order and unit, found "
                f"{'; '.join(','.join(map(str, budget)) for budget in budgets)}."
            )
        if not all(one.amount > other.amount for one, other in zip(before, after, strict=True)):
            large, small = (",".join(map(str, each)) for each in (before, after))
            raise BudgetError(
                f"milestones: {large} must be larger than {small} in every constraint: give them from the "
                "largest to the smallest."
            )
