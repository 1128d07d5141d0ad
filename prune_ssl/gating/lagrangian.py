"""Lagrangian: the penalty that pulls the expected cost of the gates to a budget, as hard as the task does."""

from math import inf, sqrt

import torch

from prune_ssl.errors import BudgetError
from prune_ssl.gating import schedule
from prune_ssl.gating.config import PruningConfig
from prune_ssl.gating.counting import AugmentedLagrangian
from prune_ssl.gating.task_pull import TaskPull
from prune_ssl.selection import Bounds
from prune_ssl.selection.joint import JointCosts


class Lagrangian:
    """The controller of a budget: the target at each step, and the penalty for missing it.

    The multipliers, (limits, 2) with lambda_1 and lambda_2 of each constraint, are a parameter of `Gates`: an
    optimiser moves them and a checkpoint holds them under that name.
    """

    def __init__(self, config: PruningConfig, bounds: Bounds, units: int) -> None:
        self.config, self.bounds, self.units = config, bounds, units
        self.steps = 0
        """Planned optimiser steps; 0 until they are planned."""
        self.start: list[float] = []
        """The expected fraction of each constraint at the first step."""
        self.pull = TaskPull()
        self._costs: JointCosts | None = None

    @property
    def learning_rate(self) -> float:
        """The learning rate of the gates: the rate of the config, or one that follows from the steps."""
        steps = self._planned_steps()
        return self.config.gate_learning_rate or schedule.gate_learning_rate(steps)

    @property
    def warmup(self) -> float:
        """The part of the steps over which the target falls: from the config, or from the number of steps."""
        steps = self._planned_steps()
        return schedule.warmup(steps) if self.config.warmup is None else self.config.warmup

    def target(self, step: int) -> list[float]:
        """Return the target fraction of each constraint at `step`."""
        steps, warmup = self._planned_steps(), self.warmup
        return [
            schedule.ramp(step, steps, warmup, start, limit.fraction, self.config.schedule)
            for start, limit in zip(self.start, self.bounds.limits, strict=True)
        ]

    def expected(self, counts: torch.Tensor) -> torch.Tensor:
        """Return the expected cost of each constraint as a fraction of the dense cost, (limits,).

        Args:
            counts: expected number of open units of every group of the graph, (groups,).
        """
        found = [limit.cost.expected(counts) / limit.dense for limit in self.bounds.limits]
        return torch.stack(found).to(counts.dtype)

    def penalty(
        self, step: int, multipliers: torch.Tensor, counts: torch.Tensor, slopes: torch.Tensor
    ) -> torch.Tensor:
        """Return the sum over constraints of K (lambda_1 v + lambda_2 v^2), v = expected - target, a scalar.

        Any optimiser minimises it. The multipliers, over which it is to be maximised, get the negated
        gradient. K is `task_scale`.

        Args:
            step: optimiser step, from 0.
            multipliers: (limits, 2).
            counts: expected number of open units of every group, (groups,), differentiable.
            slopes: sum over each group's units of d P(open) / d log_alpha, (groups,) float64.
        """
        self.pull.follow()
        violation, derivatives = self._joint()(counts, self.target(step))
        scale = self._scale(derivatives, slopes)
        penalty: torch.Tensor = AugmentedLagrangian.apply(multipliers, counts, violation, derivatives, scale)  # type: ignore[no-untyped-call]
        if penalty.requires_grad:
            penalty.register_hook(self.pull.note_scale)
        return penalty

    def task_scale(self, counts: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
        """Return K of each constraint, (limits,), without a gradient (docs/methods.md, "The scale K").

        K scales the penalty so that a multiplier of 1 pulls on the gates as hard as the task loss does. The
        arguments are those of `penalty`.
        """
        return self._scale(self._joint()(counts, self.target(0))[1], slopes).to(counts.dtype)

    def _scale(self, derivatives: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
        start, pull = sqrt(self.units), self.pull.usual(slopes.device)
        if pull is None or not torch.is_grad_enabled():
            return derivatives.new_full((len(derivatives),), start)
        pulls = derivatives.abs() @ slopes
        scale = pull / pulls.clamp_min_(torch.finfo(torch.float32).tiny)
        return scale.nan_to_num_(nan=start, posinf=inf)  # NaN: no finite gradient was seen

    def _joint(self) -> JointCosts:
        """Return the costs of the present limits; `bounds` may be set anew."""
        if self._costs is None or self._costs.limits is not self.bounds.limits:
            self._costs = JointCosts(self.bounds.limits)
        return self._costs

    def _planned_steps(self) -> int:
        if not self.steps:
            raise BudgetError(
                "the gates do not know how long they will train: give PruningConfig(steps=...), the number "
                "of optimiser steps; learning rates and the target's ramp follow from it."
            )
        return self.steps
