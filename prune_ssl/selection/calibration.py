"""Calibration: gathers evidence about units from a few batches: gradients of the loss, or sizes of inputs."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from prune_ssl.errors import BudgetError
from prune_ssl.tracing import Group, ParameterSlice, PruningGraph

Batch = Mapping[str, torch.Tensor]
Total = Callable[[torch.Tensor], torch.Tensor]
"""Returns the sum of a tensor over all processes that calibrate together."""
LossOf = Callable[[nn.Module, Batch], torch.Tensor]
"""Runs a model on a batch and returns the loss of a task, a scalar."""


def alone(values: torch.Tensor) -> torch.Tensor:
    """Return the sum over all processes where there is only one: the values themselves."""
    return values


@dataclass(frozen=True)
class Evidence:
    """The evidence that a criterion may use; the fields that need data are empty unless it asked for them."""

    parameters: Mapping[str, torch.Tensor]
    first: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Group -> (units,) mean over batches of |sum of w g| over all slices of a unit."""
    second: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Group -> (units,) mean over batches of the sum of (w g)^2 over all slices of a unit."""
    inputs: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """Module path of a consumer -> (columns,) root mean square of the values that each column reads."""
    known: dict[tuple[str, int], torch.Tensor] = field(default_factory=dict, compare=False, repr=False)
    """Results of `squares`. Several groups share a parameter."""

    def squares(self, path: str, dim: int) -> torch.Tensor:
        """Return the sum of the squares of a parameter for each index of a dimension, float64 on the CPU."""
        if (path, dim) not in self.known:
            values = self.parameters[path].detach()
            others = [each for each in range(values.dim()) if each != dim]
            norms = torch.linalg.vector_norm(values, dim=others, dtype=torch.float64)
            self.known[path, dim] = norms.square().cpu()
        return self.known[path, dim]


def per_unit(part: ParameterSlice, values: torch.Tensor) -> torch.Tensor:
    """Sum `values`, shaped as the parameter of `part`, over each unit's entries; returns (units,) float64."""
    rows = values.detach().double().movedim(part.dim, 0).reshape(values.shape[part.dim], -1).sum(1).cpu()
    return rows[torch.from_numpy(part.index)].sum(1)


def unit_sums(group: Group, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Sum `values` (parameter path -> tensor) over all that goes with each unit; returns (units,) float64.

    A whole block or layer has no slices: all its members go with its one unit. Paths without values (the
    buffers of norms) count nothing.
    """
    total = torch.zeros(group.size, dtype=torch.float64)
    for part in group.slices:
        if part.parameter in values:
            total += per_unit(part, values[part.parameter])
    for path in group.members:
        if path in values:
            total += values[path].detach().double().sum().cpu()
    return total


@contextmanager
def evaluating(models: Iterable[nn.Module]) -> Iterator[None]:
    """Put models in eval mode inside the block; afterwards every submodule has its old mode again."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def _differentiable(parameters: Sequence[torch.Tensor]) -> Iterator[None]:
    """Let frozen parameters have gradients inside the block."""
    frozen = [parameter for parameter in parameters if not parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


def gather_gradients(
    graph: PruningGraph,
    model: nn.Module,
    batches: Iterable[Batch],
    total: Total = alone,
    loss_of: LossOf | None = None,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return `Evidence.first` and `Evidence.second` over `batches`; `.grad` fields are not touched.

    Args:
        graph: the traced model.
        model: it is not changed.
        batches: those of this process.
        total: sums over processes, each of which has batches of its own.
        loss_of: the loss. None: the model's own.

    Raises:
        BudgetError: there is no batch, or the model gives no loss for a batch.
    """
    known = dict(model.named_parameters())
    touched = {part.parameter for group in graph.groups.values() for part in group.slices}
    touched.update(path for group in graph.groups.values() for path in group.members)
    names = sorted(touched & known.keys())
    parameters = [known[name] for name in names]
    first = {name: torch.zeros(group.size, dtype=torch.float64) for name, group in graph.groups.items()}
    second = {name: torch.zeros_like(values) for name, values in first.items()}
    count = 0
    with evaluating([model]), _differentiable(parameters), torch.enable_grad():
        for batch in batches:
            loss = _own_loss(model, batch) if loss_of is None else loss_of(model, _on_device(model, batch))
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            products = {
                name: torch.zeros_like(parameter) if gradient is None else parameter.detach() * gradient
                for name, parameter, gradient in zip(names, parameters, gradients, strict=True)
            }
            squares = {name: product.double().square() for name, product in products.items()}
            for name, group in graph.groups.items():
                first[name] += unit_sums(group, products).abs()
                second[name] += unit_sums(group, squares)
            count += 1
    _refuse_none(count)
    batches_of_all = total(torch.tensor(count, dtype=torch.float64))
    means = [
        {name: total(values) / batches_of_all for name, values in sums.items()} for sums in (first, second)
    ]
    return means[0], means[1]


def gather_inputs(
    graph: PruningGraph,
    model: nn.Module,
    batches: Iterable[Batch],
    total: Total = alone,
    loss_of: LossOf | None = None,
) -> dict[str, torch.Tensor]:
    """Return `Evidence.inputs` over `batches`, and those of other processes if `total` sums over them.

    `loss_of`, if it is given, runs the model: the labels of some tasks are none that the model itself takes.

    Raises:
        BudgetError: there is no batch, or a consumer never ran as a module of its own.
    """
    paths = {part.module for group in graph.groups.values() for part in group.of_role("consumer")}
    squares: dict[str, torch.Tensor] = {}
    ticks: dict[str, int] = {}

    def note(path: str, module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        values = arguments[0].detach().double()
        axis = 1 if isinstance(module, nn.Conv1d) else values.dim() - 1
        rows = values.movedim(axis, 0).reshape(values.shape[axis], -1)
        squares[path] = squares.get(path, torch.zeros((), device=rows.device)) + rows.square().sum(1)
        ticks[path] = ticks.get(path, 0) + rows.shape[1]

    handles = [
        model.get_submodule(path).register_forward_pre_hook(lambda m, args, path=path: note(path, m, args))
        for path in paths
    ]
    count = 0
    try:
        with evaluating([model]), torch.no_grad():
            for batch in batches:
                given = _on_device(model, batch)
                model(**given) if loss_of is None else loss_of(model, given)
                count += 1
    finally:
        for handle in handles:
            handle.remove()
    _refuse_none(count)
    if unseen := sorted(paths - squares.keys()):
        raise BudgetError(
            f"criterion 'activation': {unseen[0]} never ran as a module in the calibration batches (its "
            "weight is unused, or passed to a functional call). Take 'magnitude' or 'taylor' for this model."
        )
    counts = {path: torch.tensor(ticks[path], dtype=torch.float64) for path in sorted(squares)}
    return {path: (total(squares[path].cpu()) / total(count)).sqrt() for path, count in counts.items()}


def _own_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    outputs = model(**_on_device(model, batch))
    loss = getattr(outputs, "loss", None)
    if not isinstance(loss, torch.Tensor):
        raise BudgetError(
            f"{type(model).__name__} gives no loss for a calibration batch with {', '.join(batch)}: give a "
            "model with a head, and batches with labels, or take a criterion that needs no loss."
        )
    return loss


def _on_device(model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    device = next(model.parameters()).device
    return {name: value.to(device) for name, value in batch.items()}


def _refuse_none(count: int) -> None:
    if not count:
        raise BudgetError("the calibration batches are empty: give at least one, better eight or more.")
