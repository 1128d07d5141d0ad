"""UnitGates: a hard-concrete gate for each unit of some groups, drawn, held, or at its likeliest value."""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

import torch
from torch import nn

from prune_ssl.gating import hard_concrete
from prune_ssl.gating.attachment import Attachment
from prune_ssl.gating.counting import SPAN, CountOpen
from prune_ssl.gating.learning import Learning
from prune_ssl.gating.plan import Plan
from prune_ssl.gating.segments import segment_sum
from prune_ssl.models.torch_internals import version_of
from prune_ssl.tracing import Group, PruningGraph


class UnitGates(nn.Module):
    """The distribution of gates over units (docs/methods.md, "Gates").

    One parameter, `log_alpha` (units,), holds all units; `spans` has the slice of each group. The gates are
    no submodule of a model: `attach` puts them on one, and they have a state_dict of their own.
    """

    floors: torch.Tensor  # (groups,) the fewest units that a group may keep; of one without gates, all
    group_of_unit: torch.Tensor  # (units,) index of the group of each unit among all groups of the graph
    offsets: torch.Tensor  # (groups + 1,) where the units of each group begin; a group without gates has none
    per_span: torch.Tensor
    unscaled: torch.Tensor  # (units,) bool, the layers: no weight could take their scale

    def __init__(self, graph: PruningGraph, groups: Mapping[str, Group]) -> None:
        super().__init__()
        self.graph = graph
        self.groups = {name: groups[name] for name in graph.groups if name in groups}
        self.spans: dict[str, slice] = {}
        for name, group in self.groups.items():
            start = next(reversed(self.spans.values())).stop if self.spans else 0
            self.spans[name] = slice(start, start + group.size)
        units = sum(group.size for group in self.groups.values())
        self.log_alpha = nn.Parameter(torch.zeros(units))
        numbers = {name: number for number, name in enumerate(graph.groups)}
        owner = [numbers[name] for name, group in self.groups.items() for _ in range(group.size)]
        self.register_buffer("group_of_unit", torch.tensor(owner, dtype=torch.long), persistent=False)
        sizes = [group.size if name in self.groups else 0 for name, group in graph.groups.items()]
        self.register_buffer("offsets", torch.tensor([0, *accumulate(sizes)]), persistent=False)
        layers = [group.kind == "layer" for group in self.groups.values() for _ in range(group.size)]
        self.register_buffer("unscaled", torch.tensor(layers, dtype=torch.bool), persistent=False)
        fewest = [
            float(group.minimum if name in self.spans else group.size) for name, group in graph.groups.items()
        ]
        self.register_buffer("floors", torch.tensor(fewest), persistent=False)
        self.register_buffer("per_span", torch.tensor(1 / SPAN), persistent=False)
        # Gates have a random stream of their own. Processes with the same seed draw the same gates, whatever
        # dropout and augmentation draw in between.
        self.seed = torch.initial_seed()
        self.learned = Learning()
        self.watch: Callable[[torch.Tensor], torch.Tensor] | None = None
        """Maps the gradient of the task on the drawn gates, (units,), to the gradient that the gates get."""
        self.attachment: Attachment | None = None
        self.stream = torch.Generator().manual_seed(self.seed)
        """The random stream of the gates. It is on the CPU, so that all devices draw alike."""
        self._current: torch.Tensor | None = None
        self._held: torch.Tensor | None = None
        self._likeliest: tuple[object, torch.Tensor] | None = None

    def current(self) -> torch.Tensor:
        """Return the gates of the present forward pass, (units,)."""
        if self._current is None:
            self._current = self.deterministic()
        return self._current

    def values(self, group: str) -> torch.Tensor:
        """Return the current gates of `group`, (units,)."""
        return self.current()[self.spans[group]]

    def draw(self, training: bool) -> None:
        """Set the gates of the coming forward pass: in training a new sample, else the deterministic mask."""
        self.learned.note_pass(training, self._held is not None, torch.is_grad_enabled())
        if self._held is not None:
            self._current = self._held
        elif training and torch.is_grad_enabled():
            # Only the task loss flows through this node (the penalty reads log_alpha directly), so the hooks
            # see the task's gradient alone.
            self._likeliest = None
            followed = self.log_alpha.view_as(self.log_alpha)
            followed.register_hook(self.learned.note_pulled)
            if self.watch is not None:
                followed.register_hook(self.watch)
            self._current = hard_concrete.sample(followed, self.stream)
        else:
            self._current = self.deterministic()

    def deterministic(self) -> torch.Tensor:
        """Return the mask in evaluation (units,): a group's likeliest units at E[z | z > 0].

        How many are open is the rounded sum of `open_share`, and at least the group's minimum. The mask is
        made anew when the gates have moved.
        """
        moment = version_of(self.log_alpha), self.log_alpha.device
        if self._likeliest is None or self._likeliest[0] != moment:
            with torch.inference_mode(False), torch.no_grad():  # training may use it too
                self._likeliest = moment, self._likeliest_units()
        return self._likeliest[1]

    def _likeliest_units(self) -> torch.Tensor:
        shares = hard_concrete.open_share(self.log_alpha)
        counts = segment_sum(shares, self.offsets).round().maximum(self.floors)
        # Sorted by share, and then by group without changing the order inside it.
        order = torch.argsort(shares, descending=True, stable=True)
        order = order[torch.argsort(self.group_of_unit[order], stable=True)]
        place = torch.arange(len(order), device=order.device) - self.offsets[self.group_of_unit]
        closed = torch.empty_like(place, dtype=torch.bool)
        closed[order] = place >= counts[self.group_of_unit]
        return self.open_means().masked_fill_(closed, 0)

    def open_means(self) -> torch.Tensor:
        """Return E[z | z > 0] of every unit, (units,).

        For a layer it is 1: a layer is there or not, and no weight could take its scale.
        """
        return hard_concrete.mean_when_open(self.log_alpha.detach()).masked_fill_(self.unscaled, 1.0)

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
        return self.counts_and_slopes()[0]

    def counts_and_slopes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `open_counts`, and `slopes`: both (groups,)."""
        given = self.log_alpha, self.offsets, self.group_of_unit, self.floors, self.per_span
        counts, slopes = CountOpen.apply(*given)  # type: ignore[no-untyped-call]
        return counts, slopes

    @torch.no_grad()
    def open_widths(self) -> dict[str, int]:
        """Return the number of units of every group that are open in evaluation."""
        opened = segment_sum((self.deterministic() > 0).to(self.log_alpha.dtype), self.offsets)
        counts = zip(self.graph.groups, opened.tolist(), strict=True)
        return self.graph.widths() | {name: int(count) for name, count in counts if name in self.groups}

    def expected_widths(self) -> dict[str, torch.Tensor]:
        """Return the expected number of open units of every group, scalars, differentiable."""
        return dict(zip(self.graph.groups, self.open_counts().unbind(), strict=True))

    def slopes(self) -> torch.Tensor:
        """Return the sum over each group's units of d open_share / d log_alpha, (groups,) of `widest`."""
        with torch.no_grad():
            return self.counts_and_slopes()[1]

    def detach(self) -> None:
        """Take the gates off the model: its classes and hooks are restored, the gates keep their values."""
        if self.attachment is not None:
            self.attachment.detach()
        self.attachment = None
