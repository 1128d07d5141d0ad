"""Gates: masks over the units of a model that are learned under a budget and become a plan."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from prune_ssl.errors import BudgetError, GatingError, ModelError, PruneWarning
from prune_ssl.gating import hard_concrete, schedule
from prune_ssl.gating.attachment import attach
from prune_ssl.gating.config import PruningConfig
from prune_ssl.gating.distribution import UnitGates
from prune_ssl.gating.lagrangian import Lagrangian
from prune_ssl.gating.learning import STUCK, TRAIN_MODE, Learning
from prune_ssl.gating.modules import gate_of
from prune_ssl.gating.plan import Plan
from prune_ssl.gating.projection import doubts, initial_keep, project, require_learned
from prune_ssl.gating.state import GateState, restore_, state_of
from prune_ssl.models.arguments import as_own_model, shown
from prune_ssl.models.torch_internals import version_of
from prune_ssl.selection import Bounds, Budget, Limit
from prune_ssl.tracing import PruningGraph
from prune_ssl.tracing.arguments import check_graph, check_same_model

BETAS = (0.9, 0.95)
"""Adam betas of gates and multipliers: a memory of 20 steps instead of 1,000."""


class Gates(UnitGates):
    """Gates that learn which units to keep, pulled to a budget by a Lagrangian (docs/methods.md, "Gates").

    `attach_gates` makes them. They have two parameters: `log_alpha` (units,), and `multipliers` (limits, 2)
    with lambda_1 and lambda_2 of each constraint. `lagrangian` computes the penalty; `attachment` holds the
    gates on their model.
    """

    def __init__(self, graph: PruningGraph, config: PruningConfig, bounds: Bounds) -> None:
        whole = {n for n, widths in bounds.widths.items() if config.layout == "stock" and len(widths) == 1}
        groups = {n: g for n, g in graph.groups.items() if g.kind in config.kinds and n not in whole}
        super().__init__(graph, groups)
        self.config = config
        self.multipliers = nn.Parameter(torch.zeros(len(bounds.limits), 2))
        self.lagrangian = Lagrangian(config, bounds, len(self.log_alpha))
        self.watch = self.lagrangian.pull.note
        self._at_last_penalty: int | None = None
        self._order = torch.zeros(len(self.log_alpha))
        if config.steps is not None:
            self.plan_steps(config.steps)

    def extra_repr(self) -> str:
        """Return the numbers of gates and groups, and the budget."""
        budget = ",".join(str(limit.constraint) for limit in self.limits)
        return f"{len(self.log_alpha)} gates in {len(self.spans)} groups, budget {budget}"

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The limits of the resolved budget."""
        return self.lagrangian.bounds.limits

    def plan_steps(self, steps: int) -> None:
        """Fix the number of training steps, from which initial gates, learning rates and targets follow."""
        self.lagrangian.steps, self.learned = steps, Learning()
        with torch.no_grad():
            self.log_alpha.copy_(self.first())
            self.multipliers[:, 0] = 0
            self.multipliers[:, 1] = schedule.INITIAL_LAMBDA_2
            self.lagrangian.start = [float(value) for value in self.expected()]

    def first(self) -> torch.Tensor:
        """Return log_alpha of every unit at the first step, (units,)."""
        middle = hard_concrete.log_alpha_for(initial_keep(self.lagrangian))
        start = middle + schedule.ORDER_SPREAD * self._order
        return start.clamp(-hard_concrete.CLAMP, hard_concrete.CLAMP).to(self.log_alpha)

    def start_in_order(self, scores: Mapping[str, torch.Tensor]) -> None:
        """Let the gates of each group start in the order of scores; call it before training.

        Gates that start alike close together: no unit of a group is worth more than the others until most of
        them are closed, and closed gates get no gradient. In an order the best units of each group stay open,
        and the task decides how many.

        Args:
            scores: group -> (units,), such as those of `score_units`; higher means that the gate starts more
                open. Only the order within a group counts.
        """
        for name, span in self.spans.items():
            ranks = scores[name].argsort(stable=True).argsort(stable=True).float()
            if len(ranks) > 1:
                self._order[span] = 2 * ranks.cpu() / (len(ranks) - 1) - 1
        if self.lagrangian.steps:
            self.plan_steps(self.lagrangian.steps)

    def parameter_groups(self, learning_rate: float | None = None) -> list[dict[str, Any]]:
        """Return optimiser groups without weight decay: the gates, and the multipliers of `penalty`.

        They suit optimisers of the Adam family, which move a parameter by about the learning rate at a step.
        """
        rate = self.lagrangian.learning_rate if learning_rate is None else learning_rate
        slower = schedule.MULTIPLIER_RATE * rate
        return [
            {"params": [self.log_alpha], "lr": rate, "weight_decay": 0.0, "betas": BETAS},
            {"params": [self.multipliers], "lr": slower, "weight_decay": 0.0, "betas": BETAS},
        ]

    def expected(self) -> torch.Tensor:
        """Return the expected cost of each constraint as a fraction of the dense cost, (limits,)."""
        return self.lagrangian.expected(self.open_counts())

    @torch.no_grad()
    def open_cost(self) -> list[float]:
        """Return the cost of the units that are open in evaluation, for each constraint, of the dense cost.

        It differs from `expected` by the gates that are undecided: a trained gate counts in part there, and
        wholly or not at all here.
        """
        widths = self.open_widths()
        return [limit.cost.value(widths) / limit.dense for limit in self.limits]

    def penalty(self, step: int) -> torch.Tensor:
        """Return the penalty that pulls the gates to the budget, a scalar to add to the loss of the task.

        It is the augmented Lagrangian of docs/methods.md: over all constraints, the sum of
        K (lambda_1 v + lambda_2 v^2), where v is the expected cost less its target at `step`.

        Args:
            step: optimiser step, from 0.

        Raises:
            GatingError: the gates are never drawn, as the model is in evaluation mode.
        """
        learned = self.learned
        asleep = self.attachment is not None and self.attachment.training is False
        if learned.whole and not learned.drawn and asleep:
            raise GatingError(f"penalty({step}): {TRAIN_MODE}.")
        now = version_of(self.log_alpha)
        learned.note_asked(step, moved=now != self._at_last_penalty)
        self._at_last_penalty = now
        if learned.stuck == STUCK:
            warnings.warn(
                f"penalty has been called with step {step} since {STUCK} moves of the gates: give it the "
                "number of the optimiser step (0, 1, 2, ...), by which the target moves to the budget.",
                PruneWarning,
                stacklevel=2,
            )
        penalty = self.lagrangian.penalty(step, self.multipliers, *self.counts_and_slopes())
        if penalty.requires_grad:
            penalty.register_hook(learned.note_returned)
        return penalty

    @torch.no_grad()
    def clamp_(self) -> None:
        """Bound log_alpha and lambda_2, after each step; a gate beyond the bound would stop learning."""
        self.log_alpha.clamp_(-hard_concrete.CLAMP, hard_concrete.CLAMP)
        self.multipliers[:, 1].clamp_(min=0)

    @torch.no_grad()
    def summary(self, step: int) -> dict[str, float]:
        """Return figures to log at `step`, as plain numbers.

        They are, for each constraint, the expected cost, the cost of the units that are open in evaluation
        and the target (fractions of the dense cost), the multipliers, and the kept part of each kind.
        """
        logged: dict[str, float] = {}
        expected, targets = self.expected().tolist(), self.lagrangian.target(step)
        for limit, fraction, target, (first, second) in zip(
            self.limits, expected, targets, self.multipliers.tolist(), strict=True
        ):
            name = limit.constraint.name
            logged |= {f"expected_{name}": fraction, f"target_{name}": target}
            logged |= {f"lambda1_{name}": first, f"lambda2_{name}": second}
        penalty = self.lagrangian.penalty(step, self.multipliers, *self.counts_and_slopes())
        logged["penalty"] = float(penalty)
        for limit, opened in zip(self.limits, self.open_cost(), strict=True):
            logged[f"open_{limit.constraint.name}"] = opened
        shares = hard_concrete.open_share(self.log_alpha)
        for kind in self.config.kinds:
            parts = [shares[self.spans[n]] for n, group in self.groups.items() if group.kind == kind]
            if parts:
                logged[f"keep_{kind}"] = float(torch.cat(parts).mean())
        return logged

    def get_extra_state(self) -> GateState:
        """Return the part of a checkpoint that is no tensor, as plain data; `state_dict()` includes it."""
        return state_of(self, self.lagrangian)

    def set_extra_state(self, state: GateState) -> None:
        """Restore the state that `get_extra_state` returned, with the latencies in it.

        Latencies differ on another machine, and limits that move during training would be another budget.
        """
        restore_(self, self.lagrangian, state)

    def constrain(self, budget: Budget) -> None:
        """Take another budget of the same kind, with other amounts or tables.

        Raises:
            BudgetError: the budget cannot be met; nothing is changed.
        """
        lagrangian = self.lagrangian
        lagrangian.bounds = lagrangian.bounds.under(budget, self.graph, self.config.seconds)

    def finalize(self, *, untrained: bool = False) -> Plan:
        """Project the gates to the exact budget: likeliest units, rounded widths, never above any limit.

        A `PruneWarning` says that training was stopped early, or that the gates are far from the budget.

        Args:
            untrained: take the gates as they are, whether or not they have learned anything.

        Returns:
            The keep, and E[z | z > 0] of each kept unit, which `resize` folds into the consumers.

        Raises:
            GatingError: the gates have learned nothing, so that no cut can follow from them.
        """
        if not untrained:
            require_learned(self, self.lagrangian, self.first())
            for doubt in doubts(self, self.lagrangian):
                warnings.warn(f"{doubt}.", PruneWarning, stacklevel=2)
        return project(self, self.lagrangian)


def attach_gates(
    model: nn.Module, graph: PruningGraph, config: PruningConfig, bounds: Bounds | None = None
) -> Gates:
    """Gate every group of `graph` on `model`; its parameters and state_dict keys stay as they are.

    A gate multiplies the columns of the weights that read its unit. So it costs a product of a weight's size,
    and acts in functional calls too. Norms over gated channels use the statistics of the kept channels. Each
    training forward of the backbone draws new gates.

    Args:
        model: the model that was traced.
        graph: the result of `trace(model)`.
        config: budget and settings; `penalty` and `parameter_groups` need `config.steps`.
        bounds: `config.bounds(graph)`, if it is known already.

    Returns:
        The gates. Call `model.train()`, add `gates.parameter_groups()` to the optimiser and
        `gates.penalty(step)` to the loss, and call `gates.clamp_()` after each step; at the end call
        `gates.finalize()` and `gates.detach()`.

    Raises:
        BudgetError: the budget cannot be met, or the config has milestones.
        ModelError: the model is not the one that was traced, or has gates already.

    Example:
        >>> import prune_ssl
        >>> from transformers import HubertConfig, HubertModel
        >>> sizes = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
        >>> model = HubertModel(HubertConfig(num_hidden_layers=1, conv_dim=(16,) * 7, **sizes))
        >>> graph = prune_ssl.trace(model)
        >>> config = prune_ssl.PruningConfig(budget="macs=60%", steps=100, round_to=1)
        >>> gates = prune_ssl.attach_gates(model, graph, config)
        >>> bool(gates.penalty(50) > 0)  # the target has come down, the gates have not
        True
        >>> gates.detach()
    """
    model = _checked(model, graph, config)
    gates = Gates(graph, config, config.bounds(graph) if bounds is None else bounds)
    device = next(model.parameters()).device
    if device.type != "meta":  # on the meta device, gates stay on the CPU, to plan with
        gates.to(device)
    attach(model, gates)
    return gates


def _checked(model: nn.Module, graph: PruningGraph, config: PruningConfig) -> nn.Module:
    """Refuse arguments of `attach_gates` that are of other types, do not fit together, or are in use."""
    check_graph(model, graph, "attach_gates")
    model = as_own_model(model, "attach_gates", "gates are put on it and learn with it")
    if not isinstance(config, PruningConfig):
        raise BudgetError(
            f"attach_gates: found {shown(config)}, wanted prune_ssl.PruningConfig(budget='macs=50%', ...)."
        )
    check_same_model(model, graph)
    if config.milestones:
        raise BudgetError("milestones: only PruningTrainer has them; gates learn one budget at a time.")
    if any(gate_of(module) is not None for module in model.modules()):
        raise ModelError("gates are attached to this model already; call gates.detach() first.")
    return model
