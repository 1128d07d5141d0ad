"""UnitGates: a hard-concrete gate for each unit of some groups, drawn, held, or at its likeliest value."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from prune_ssl.gating import hard_concrete
from prune_ssl.gating.attachment import Attachment
from prune_ssl.gating.learning import Learning
from prune_ssl.gating.plan import Plan
from prune_ssl.tracing import Group, PruningGraph


class UnitGates(nn.Module):
    """The distribution of gates over units (docs/methods.md, "Gates").

    One parameter, `log_alpha` (units,), holds all units; `spans` has the slice of each group. The gates are
    no submodule of a model: `attach` puts them on one, and they have a state_dict of their own.
    """

    without_gates: torch.Tensor  # (groups,) the units of each group that has no gates
    minimums: torch.Tensor  # (groups,) the fewest units that each group may keep
    group_of_unit: torch.Tensor  # (units,) index of the group of each unit among all groups of the graph

    def __init__(self, graph: PruningGraph, groups: Mapping[str, Group]) -> None:
        super().__init__()
        self.graph, self.groups = graph, dict(groups)
        self.spans: dict[str, slice] = {}
        for name, group in self.groups.items():
            start = next(reversed(self.spans.values())).stop if self.spans else 0
            self.spans[name] = slice(start, start + group.size)
        units = sum(group.size for group in self.groups.values())
        self.log_alpha = nn.Parameter(torch.zeros(units))
        numbers = {name: number for number, name in enumerate(graph.groups)}
        owner = [numbers[name] for name, group in self.groups.items() for _ in range(group.size)]
        self.register_buffer("group_of_unit", torch.tensor(owner, dtype=torch.long), persistent=False)
        each_group = graph.groups.items()
        whole = [0.0 if name in self.spans else float(group.size) for name, group in each_group]
        self.register_buffer("without_gates", torch.tensor(whole), persistent=False)
        minimums = [float(group.minimum) for _, group in each_group]
        self.register_buffer("minimums", torch.tensor(minimums), persistent=False)
        # Gates have a random stream of their own. Processes with the same seed draw the same gates, whatever
        # dropout and augmentation draw in between.
        self.seed = torch.initial_seed()
        self.learned = Learning()
        self.watch: Callable[[torch.Tensor], torch.Tensor] | None = None
        """Maps the gradient of the task on the drawn gates, (units,), to the gradient that the gates get."""
        self.attachment: Attachment | None = None
        self._generator: torch.Generator | None = None
        self._current: torch.Tensor | None = None
        self._held: torch.Tensor | None = None

    @property
    def stream(self) -> torch.Generator:
        """The random stream of the gates, on their device."""
        device = self.log_alpha.device
        if self._generator is None or self._generator.device.type != device.type:
            self._generator = torch.Generator(device).manual_seed(self.seed)
        return self._generator

    def values(self, group: str) -> torch.Tensor:
        """Return the current gates of `group`, (units,)."""
        if self._current is None:
            self._current = self.deterministic()
        return self._current[self.spans[group]]

    def draw(self, training: bool) -> None:
        """Set the gates of the coming forward pass: in training a new sample, else the deterministic mask."""
        self.learned.note_pass(training, self._held is not None, torch.is_grad_enabled())
        if self._held is not None:
            self._current = self._held
        elif training and torch.is_grad_enabled():
            # Only the task loss flows through this node (the penalty reads log_alpha directly), so the hooks
            # see the task's gradient alone.
            followed = self.log_alpha * 1.0
            followed.register_hook(self.learned.note_pulled)
            if self.watch is not None:
                followed.register_hook(self.watch)
            self._current = hard_concrete.sample(followed, self.stream)
        else:
            self._current = self.deterministic()

    @torch.no_grad()
    def deterministic(self) -> torch.Tensor:
        """Return the mask in evaluation (units,): a group's likeliest units at E[z | z > 0].

        How many are open is the rounded sum of `open_share`, and at least the group's minimum.
        """
        probabilities = hard_concrete.open_share(self.log_alpha)
        mask = self.open_means()
        for name, group in self.groups.items():
            span = self.spans[name]
            count = max(round(float(probabilities[span].sum())), group.minimum)
            closed = torch.argsort(probabilities[span], descending=True, stable=True)[count:]
            mask[span][closed] = 0
        return mask

    def open_means(self) -> torch.Tensor:
        """Return E[z | z > 0] of every unit, (units,).

        For a layer it is 1: a layer is there or not, and no weight could take its scale.
        """
        means = hard_concrete.mean_when_open(self.log_alpha.detach())
        for name, group in self.groups.items():
            if group.kind == "layer":
                means[self.spans[name]] = 1.0
        return means

    @torch.no_grad()
    def hold(self, plan: Plan | Mapping[str, Sequence[int]] | None) -> None:
        """Fix the gates at a plan, or at a bare keep with scale 1; None releases them."""
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

    def open_counts(self) -> torch.Tensor:
        """Return the expected number of open units of each group of the graph, (groups,), differentiable.

        It is the sum of `open_share`, and at least the group's minimum. If all gates are closed, the cost is
        that of the smallest model that can be cut.
        """
        shares = hard_concrete.open_share(self.log_alpha)
        return self.without_gates.index_add(0, self.group_of_unit, shares).clamp(min=self.minimums)

    def expected_widths(self) -> dict[str, torch.Tensor]:
        """Return the expected number of open units of every group, scalars, differentiable."""
        return dict(zip(self.graph.groups, self.open_counts().unbind(), strict=True))

    def slopes(self) -> torch.Tensor:
        """Return the sum over each group's units of d open_share / d log_alpha, (groups,), in float64."""
        probabilities = hard_concrete.keep_probability(self.log_alpha.detach())
        scale = hard_concrete.CEILING - hard_concrete.FLOOR
        each = (probabilities * (1 - probabilities)).double() / scale
        return each.new_zeros(len(self.graph.groups)).index_add(0, self.group_of_unit, each)

    def detach(self) -> None:
        """Take the gates off the model: its classes and hooks are restored, the gates keep their values."""
        if self.attachment is not None:
            self.attachment.detach()
        self.attachment = None
