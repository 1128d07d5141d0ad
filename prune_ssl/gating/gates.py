"""Gates: one learned hard-concrete mask over all units, its budget penalty, and its final plan."""

import warnings
import weakref
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite, sqrt
from typing import Any

import torch
from torch import nn

from prune_ssl.errors import BudgetError, GatingError, PruneWarning
from prune_ssl.gating import hard_concrete, schedule
from prune_ssl.gating.config import PruningConfig
from prune_ssl.gating.learning import STUCK, TRAIN_MODE, Learning, far_from_budget
from prune_ssl.gating.modules import restore_class
from prune_ssl.gating.plan import Plan
from prune_ssl.gating.processes import mean_over_processes
from prune_ssl.gating.state import restore_, state_of
from prune_ssl.selection import Bounds, Budget, Limit, resolve, solve, ties_of, unit_prices
from prune_ssl.tracing import Group, PruningGraph

SMOOTHING = 0.9  # of the measured size of the task's gradient, per backward pass
SPIKE = 3.0  # times its usual size, at which the task's gradient on the gates is clipped
BETAS = (0.9, 0.95)  # of Adam for gates and multipliers: a memory of 20 steps, not 1,000


class Gates(nn.Module):
    """Hard-concrete gates over the units of a graph, with multipliers for a budget (methods 2.1-2.3).

    Made by `attach_gates`. All units share one parameter, `log_alpha` (units,); `multipliers` (limits, 2)
    holds lambda_1 and lambda_2 of each constraint. The module is separate from the model: its state_dict is
    its own.
    """

    group_of_unit: torch.Tensor  # (units,) number of each unit's group among all of the graph

    def __init__(
        self,
        graph: PruningGraph,
        config: PruningConfig,
        limits: Sequence[Limit],
        widths: Mapping[str, Sequence[int]],
    ) -> None:
        super().__init__()
        self.graph, self.config, self.limits, self.widths = graph, config, tuple(limits), widths
        fixed = {n for n, options in widths.items() if config.layout == "stock" and len(options) == 1}
        self.groups: dict[str, Group] = {
            n: g for n, g in graph.groups.items() if g.kind in config.kinds and n not in fixed
        }
        self.spans: dict[str, slice] = {}
        for name, group in self.groups.items():
            start = next(reversed(self.spans.values())).stop if self.spans else 0
            self.spans[name] = slice(start, start + group.size)
        units = sum(group.size for group in self.groups.values())
        self.log_alpha = nn.Parameter(torch.zeros(units))
        numbers = {name: number for number, name in enumerate(graph.groups)}
        owner = [numbers[name] for name, group in self.groups.items() for _ in range(group.size)]
        self.register_buffer("group_of_unit", torch.tensor(owner, dtype=torch.long), persistent=False)
        self.multipliers = nn.Parameter(torch.zeros(len(self.limits), 2))
        self.steps = 0
        self.start: list[float] = []
        self._task_pull: float | None = None
        self._measured: float | None = None
        self._loss_scale = 1.0
        # Gates have a stream of their own: processes that were seeded alike then draw the same gates, however
        # much dropout and augmentation each of them draws in between.
        self._seed = torch.initial_seed()
        self._generator: torch.Generator | None = None
        self._current: torch.Tensor | None = None
        self._held: torch.Tensor | None = None
        self.learned = Learning()
        self._seen, self._version = (0, 0), -1
        self._backbone: weakref.ref[nn.Module] | None = None
        self._attached: list[tuple[nn.Module, type[nn.Module]]] = []
        self._handles: list[Any] = []
        if config.steps is not None:
            self.plan_steps(config.steps)

    # -- set-up

    def plan_steps(self, steps: int) -> None:
        """Fix the number of training steps, and with it the initial gates, learning rates and target ramp."""
        self.steps, self.learned = steps, Learning()
        keep = self.config.initial_keep or schedule.initial_keep(steps)
        with torch.no_grad():
            self.log_alpha.fill_(hard_concrete.log_alpha_for(keep))
            self.multipliers[:, 0] = 0
            self.multipliers[:, 1] = schedule.INITIAL_LAMBDA_2
            self.start = [float(value) for value in self.expected()]

    @property
    def learning_rate(self) -> float:
        """The gates' learning rate: the config's, or one that follows from the number of steps."""
        self._require_steps()
        return self.config.gate_learning_rate or schedule.gate_learning_rate(self.steps)

    @property
    def warmup(self) -> float:
        """The part of the steps over which the target falls: the config's, or one that follows from them."""
        self._require_steps()
        return schedule.warmup(self.steps) if self.config.warmup is None else self.config.warmup

    def parameter_groups(self, learning_rate: float | None = None) -> list[dict[str, Any]]:
        """Return optimiser groups: gates, and multipliers (see `penalty`), without weight decay.

        Made for Adam-family optimisers, which move a parameter by about the learning rate a step.
        """
        rate = self.learning_rate if learning_rate is None else learning_rate
        return [
            {"params": [self.log_alpha], "lr": rate, "weight_decay": 0.0, "betas": BETAS},
            {
                "params": [self.multipliers],
                "lr": schedule.MULTIPLIER_RATE * rate,
                "weight_decay": 0.0,
                "betas": BETAS,
            },
        ]

    def _require_steps(self) -> None:
        if not self.steps:
            raise BudgetError(
                "the gates do not know how long they will train: give PruningConfig(steps=...), the number "
                "of optimiser steps; learning rates and the target's ramp follow from it."
            )

    # -- the forward pass

    def values(self, group: str) -> torch.Tensor:
        """Return the current gates of `group`, (units,)."""
        if self._current is None:
            self._current = self.deterministic()
        return self._current[self.spans[group]]

    def draw(self, training: bool) -> None:
        """Set the gates of the coming forward pass: a new sample in training, the deterministic mask else."""
        self.learned.note_pass(training, self._held is not None, torch.is_grad_enabled())
        if self._held is not None:
            self._current = self._held
        elif training and torch.is_grad_enabled():
            # The penalty does not pass here, so its gradient is the task's alone.
            followed = self.log_alpha * 1.0
            followed.register_hook(self._note_task_pull)  # type: ignore[no-untyped-call]
            self._current = hard_concrete.sample(followed, self._stream())
        else:
            self._current = self.deterministic()

    def _stream(self) -> torch.Generator:
        device = self.log_alpha.device
        if self._generator is None or self._generator.device.type != device.type:
            self._generator = torch.Generator(device).manual_seed(self._seed)
        return self._generator

    @torch.no_grad()
    def deterministic(self) -> torch.Tensor:
        """Return the evaluation mask (units,): each group's likeliest round(sum P) units at E[z | z > 0]."""
        probabilities = hard_concrete.keep_probability(self.log_alpha)
        mask = self._open_means()
        for name, span in self.spans.items():
            count = max(round(float(probabilities[span].sum())), self.groups[name].minimum)
            closed = torch.argsort(probabilities[span], descending=True, stable=True)[count:]
            mask[span][closed] = 0
        return mask

    def _open_means(self) -> torch.Tensor:
        """Return E[z | z > 0] of every unit; a layer is there or not, its gate cannot be folded anywhere."""
        means = hard_concrete.mean_when_open(self.log_alpha.detach())
        for name, group in self.groups.items():
            if group.kind == "layer":
                means[self.spans[name]] = 1.0
        return means

    @torch.no_grad()
    def hold(self, plan: Plan | Mapping[str, Sequence[int]] | None) -> None:
        """Fix the gates at a plan or a bare keep (scale 1), or let them go again with None."""
        if plan is None:
            self._held = self._current = None
            return
        keep = plan.keep if isinstance(plan, Plan) else self.graph.check(plan)
        scales = plan.scales if isinstance(plan, Plan) else {}
        mask = torch.ones_like(self.log_alpha)
        for name, units in keep.items():
            mask[self.spans[name]] = 0
            values = torch.tensor(scales.get(name, (1.0,) * len(units)), dtype=mask.dtype, device=mask.device)
            mask[self.spans[name]][list(units)] = values
        for name, values_of_all in scales.items():
            if name not in keep:
                mask[self.spans[name]] = torch.tensor(values_of_all, dtype=mask.dtype, device=mask.device)
        self._held = self._current = mask

    # -- the budget

    def _width_vector(self) -> torch.Tensor:
        """Return the expected number of open units of every group of the graph, (groups,), differentiable."""
        probabilities = hard_concrete.keep_probability(self.log_alpha)
        whole = probabilities.new_tensor(
            [0.0 if name in self.spans else float(group.size) for name, group in self.graph.groups.items()]
        )
        return whole.index_add(0, self.group_of_unit, probabilities)

    def expected_widths(self) -> dict[str, torch.Tensor]:
        """Return the expected number of open units of every group, scalars, differentiable."""
        return dict(zip(self.graph.groups, self._width_vector().unbind(), strict=True))

    def expected(self) -> torch.Tensor:
        """Return the expected cost of each constraint as a fraction of the dense cost, (limits,)."""
        return self._costs(self._width_vector()).to(self.log_alpha.dtype)

    def _costs(self, widths: torch.Tensor) -> torch.Tensor:
        return torch.stack([limit.cost.expected(widths) / limit.dense for limit in self.limits])

    def target(self, step: int) -> list[float]:
        """Return the target fraction of each constraint at `step`."""
        self._require_steps()
        return [
            schedule.ramp(step, self.steps, self.warmup, start, limit.fraction, self.config.schedule)
            for start, limit in zip(self.start, self.limits, strict=True)
        ]

    def penalty(self, step: int) -> torch.Tensor:
        """Return sum over constraints of K (lambda_1 v + lambda_2 v^2), v = expected - target, a scalar.

        The augmented Lagrangian of methods 2.3 and 3. Minimise it: the multipliers, over which it is to be
        maximised, get the negated gradient, so that any optimiser will do. K is the unit of the multipliers:
        the L1 norm of the task's gradient on the gates over that of the expected cost, smoothed,
        so that a multiplier of 1 balances the task in any model. (Without it one unit's part of the cost
        shrinks with the number of units, and the expected cost trails its target by 0.15 of the dense cost in
        short runs.)

        Args:
            step: optimiser step, from 0.

        Raises:
            GatingError: the gates are never drawn, as the model is in evaluation mode.
        """
        self._note_asked(step)
        return self._lagrangian(step)

    def _note_asked(self, step: int) -> None:
        """Count the call; refuse a loop that teaches the gates nothing, and warn of a step that stands."""
        learned, backbone = self.learned, None if self._backbone is None else self._backbone()
        if learned.whole and not learned.drawn and backbone is not None and not backbone.training:
            raise GatingError(f"penalty({step}): {TRAIN_MODE}.")
        version = self.log_alpha._version
        learned.note_asked(step, version != self._version, self._seen)
        self._seen, self._version = (learned.drawn, learned.whole), version
        if learned.stuck == STUCK:
            warnings.warn(
                f"penalty has been called with step {step} since {STUCK} moves of the gates: give it the "
                "number of the optimiser step (0, 1, 2, ...), by which the target moves to the budget.",
                PruneWarning,
                stacklevel=3,
            )

    def _lagrangian(self, step: int) -> torch.Tensor:
        self._follow_task()
        target = torch.tensor(self.target(step), dtype=self.log_alpha.dtype, device=self.log_alpha.device)
        expected = self.expected()
        violation = expected - target
        multipliers = 2 * self.multipliers.detach() - self.multipliers  # the same values, gradients negated
        terms = multipliers[:, 0] * violation + multipliers[:, 1] * violation.square()
        penalty = (self._unit(expected) * terms).sum()
        if penalty.requires_grad:
            penalty.register_hook(self._note_loss_scale)  # type: ignore[no-untyped-call]
        return penalty

    def _unit(self, expected: torch.Tensor) -> torch.Tensor:
        """Return K of each constraint, (limits,), without a gradient."""
        if self._task_pull is None or not torch.is_grad_enabled():
            return torch.full_like(expected, sqrt(len(self.log_alpha))).detach()
        # d P / d log_alpha = P (1 - P); the rest of the chain goes through a handful of widths only.
        probabilities = hard_concrete.keep_probability(self.log_alpha.detach())
        slopes = probabilities * (1 - probabilities)
        widths = self._width_vector().detach().double().requires_grad_()
        steepness = torch.zeros_like(widths).index_add(0, self.group_of_unit, slopes.double())
        pulls = [
            (torch.autograd.grad(each, widths, retain_graph=True)[0].abs() * steepness).sum()
            for each in self._costs(widths)
        ]
        smallest = torch.finfo(expected.dtype).tiny
        return self._task_pull / torch.stack(pulls).to(expected.dtype).clamp_min(smallest)

    def _note_loss_scale(self, gradient: torch.Tensor) -> None:
        # What multiplies the loss (accumulation, fp16 scaling) multiplies the task's gradient too.
        self._loss_scale = float(gradient)
        self.learned.returned += 1

    def _note_task_pull(self, gradient: torch.Tensor) -> torch.Tensor:
        """Average the task's gradient on the gates over processes, measure it, and clip a spike of it.

        One bad batch can make it a hundred times larger than usual, after which Adam, which divides by what
        it remembers, would hardly move the gates for the rest of a short run.
        """
        gradient = mean_over_processes(gradient.detach())
        self.learned.pulled += 1
        self._measured = float(gradient.abs().sum())
        usual = (self._task_pull or 0.0) * self._loss_scale
        if usual and self._measured > SPIKE * usual:
            factor = SPIKE * usual / self._measured
            self._measured *= factor
            return gradient * factor
        return gradient

    def _follow_task(self) -> None:
        """Smooth what the last backward pass measured; only now is its loss scale surely known."""
        if self._measured is not None and isfinite(pull := self._measured / (self._loss_scale or 1.0)):
            smoothed = pull if self._task_pull is None else self._task_pull
            self._task_pull = SMOOTHING * smoothed + (1 - SMOOTHING) * pull
        self._measured = None

    @torch.no_grad()
    def clamp_(self) -> None:
        """Bound log_alpha (beyond CoFi's bound a gate stops learning) and lambda_2; call after each step."""
        self.log_alpha.clamp_(-hard_concrete.CLAMP, hard_concrete.CLAMP)
        self.multipliers[:, 1].clamp_(min=0)

    @torch.no_grad()
    def summary(self, step: int) -> dict[str, float]:
        """Return what to log at `step`: expected and target fractions, multipliers, kept share by kind."""
        logged: dict[str, float] = {}
        rows = zip(
            self.limits, self.expected().tolist(), self.target(step), self.multipliers.tolist(), strict=True
        )
        for limit, expected, target, (first, second) in rows:
            name = limit.constraint.name
            logged |= {f"expected_{name}": expected, f"target_{name}": target}
            logged |= {f"lambda1_{name}": first, f"lambda2_{name}": second}
        logged["penalty"] = float(self._lagrangian(step))
        probabilities = hard_concrete.keep_probability(self.log_alpha)
        for kind in self.config.kinds:
            parts = [probabilities[self.spans[n]] for n, group in self.groups.items() if group.kind == kind]
            if parts:
                logged[f"keep_{kind}"] = float(torch.cat(parts).mean())
        return logged

    # -- resuming

    def get_extra_state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold beside the tensors, as plain data; part of `state_dict()`."""
        return state_of(self)

    def set_extra_state(self, state: Any) -> None:
        """Take up where `get_extra_state` was called, with the latencies that were measured there.

        On another machine they differ, and limits that move in mid-training would be a budget of their own.
        """
        restore_(self, state)

    def constrain(self, budget: Budget) -> None:
        """Take another budget of the same kind: with other amounts or tables.

        Raises:
            BudgetError: it cannot be met; nothing has changed then.
        """
        self.limits = resolve(budget, self.graph, self.widths, self.config.seconds)

    # -- the end

    def finalize(self, *, untrained: bool = False) -> Plan:
        """Project the gates to the exact budget: likeliest units, rounded widths, never above any limit.

        Warns (`PruneWarning`) where training was stopped early or the gates are far from the budget.

        Args:
            untrained: take the gates as they are, whether or not they have learned anything.

        Returns:
            The keep, and E[z | z > 0] of each kept unit, which `resize` folds into the consumers.

        Raises:
            GatingError: the gates have learned nothing: no cut could follow from them.
        """
        if not untrained:
            self.require_learned()
            for doubt in self.doubts():
                warnings.warn(f"{doubt}.", PruneWarning, stacklevel=2)
        return self.projected()

    @torch.no_grad()
    def require_learned(self) -> None:
        """Refuse gates that cannot have learned what to cut.

        Raises:
            GatingError: so it is; the message says why and what to do.
        """
        start = hard_concrete.log_alpha_for(
            self.config.initial_keep or schedule.initial_keep(self.steps or 1)
        )
        moved = bool((self.log_alpha - start).abs().max() > 1e-6) if len(self.log_alpha) else True
        self.learned.require(moved, self.steps)

    @torch.no_grad()
    def doubts(self) -> Iterator[str]:
        """Yield, a line each, what makes it doubtful that the gates have learned enough for their cut."""
        yield from self.learned.doubts(self.steps)
        for limit, expected in zip(self.limits, self.expected().tolist(), strict=True):
            line = far_from_budget(limit.constraint.name, expected, limit.fraction)
            if line is not None:
                yield line

    @torch.no_grad()
    def projected(self) -> Plan:
        """Return what `finalize` does, of gates that may not have learned anything."""
        probabilities = hard_concrete.keep_probability(self.log_alpha)
        chances = {name: torch.ones(group.size) for name, group in self.graph.groups.items()}
        chances |= {name: probabilities[span].cpu() for name, span in self.spans.items()}
        start = {name: round(float(values.sum())) for name, values in chances.items()}
        # A unit's worth is its probability for each MAC or parameter of it, so that kinds compare by
        # probability.
        prices = unit_prices(self.graph, self.limits)
        scores = {name: values.double() * prices[name] for name, values in chances.items()}
        bounds = Bounds(self.limits, self.widths, ties_of(self.graph, self.config.layout))
        keep = solve(self.graph, scores, bounds, start)
        open_means = self._open_means()
        scales = {}
        for name, span in self.spans.items():
            units = keep.get(name, range(self.groups[name].size))
            scales[name] = tuple(open_means[span][list(units)].tolist())
        return Plan(keep, scales)

    def detach(self) -> None:
        """Take the gates off the model: classes and hooks as they were before. The gates keep values."""
        for module, original in self._attached:
            restore_class(module, original)
        for handle in self._handles:
            handle.remove()
        self._attached, self._handles, self._backbone = [], [], None
