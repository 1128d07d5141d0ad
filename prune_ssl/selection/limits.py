"""Limits: resolves a budget for one model, with the widths that its groups may end with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from prune_ssl.errors import BudgetError
from prune_ssl.runtimes.registry import EAGER
from prune_ssl.selection.budget import DTYPE_BYTES, Budget, Constraint, as_budget
from prune_ssl.selection.costs import CostFunction, PolynomialCost, Widths, saved_overhead
from prune_ssl.selection.latency import LatencyCost
from prune_ssl.selection.stock import Layout, ties_of
from prune_ssl.selection.widths import AllowedWidths, allowed_widths
from prune_ssl.tracing import PruningGraph


@dataclass(frozen=True)
class Limit:
    """A constraint of one model as a whole number that the small model must not exceed."""

    constraint: Constraint
    maximum: int
    dense: int
    cost: CostFunction

    @property
    def fraction(self) -> float:
        """The limit as a fraction of the dense model's cost."""
        return self.maximum / self.dense


@dataclass(frozen=True)
class Bounds:
    """The limits and widths of a cut of one model; `bounds_of` makes them once, and they are handed on.

    `widths` has the widths that each group may end with. The groups of one tie end with the same width.
    """

    limits: tuple[Limit, ...]
    widths: AllowedWidths
    ties: Sequence[Sequence[str]] = ()

    @property
    def budget(self) -> Budget:
        """The constraints from which the limits were resolved."""
        return tuple(limit.constraint for limit in self.limits)

    def hold(self, widths: Widths) -> bool:
        """Return whether a model of these widths is within every limit."""
        return all(limit.cost.value(widths) <= limit.maximum for limit in self.limits)

    def under(self, budget: Budget, graph: PruningGraph, seconds: float) -> "Bounds":
        """Return the bounds of the same widths under another budget.

        Raises:
            BudgetError: a limit is below the least cost that can be reached.
        """
        return replace(self, limits=resolve(budget, graph, self.widths, seconds))


def bounds_of(
    graph: PruningGraph,
    budget: str | Budget,
    round_to: int = 8,
    kinds: Sequence[str] | None = None,
    layout: Layout = "hetero",
    seconds: float = 10.0,
) -> Bounds:
    """Resolve a budget for the model of `graph`, with the widths that its groups may end with.

    Args:
        graph: the traced model.
        budget: text or parsed constraints.
        round_to: conv and FFN widths become multiples of this.
        kinds: kinds of units that may go, of `KINDS` (None: `UNIT_KINDS`).
        layout: "stock" leaves only the widths that a stock config can state.
        seconds: audio length at which MACs are counted.

    Raises:
        BudgetError: the budget is malformed or cannot be reached, or a kind is unknown.
    """
    widths = allowed_widths(graph, round_to, kinds, layout)
    return Bounds(resolve(budget, graph, widths, seconds), widths, ties_of(graph, layout))


def floor_widths(graph: PruningGraph, widths: AllowedWidths) -> dict[str, int]:
    """Return the smallest allowed width of every group."""
    return {name: widths[name][0] for name in graph.groups}


def reachable(graph: PruningGraph, cost: CostFunction, widths: AllowedWidths) -> tuple[int, int]:
    """Return (smallest, dense) cost that the allowed widths can reach."""
    return cost.value(floor_widths(graph, widths)), cost.value(graph.widths())


def resolve(
    budget: str | Budget, graph: PruningGraph, widths: AllowedWidths, seconds: float
) -> tuple[Limit, ...]:
    """Turn a budget into integer limits for this model.

    Args:
        budget: text or parsed constraints.
        graph: the traced model; percentages refer to its dense cost, in which parts that stay are counted.
        widths: allowed widths of every group, smallest first.
        seconds: audio length at which MACs are counted.

    Raises:
        BudgetError: a limit is below the least cost that can be reached; the message gives the range.
    """
    constraints = as_budget(budget)
    limits = []
    for constraint in constraints:
        cost = _cost_function(constraint, graph, seconds)
        smallest, dense = reachable(graph, cost, widths)
        if dense == 0:
            raise BudgetError(f"budget {constraint}: the model has no {constraint.name} to prune.")
        if constraint.fraction is not None:
            maximum = int(constraint.fraction * dense)
        else:
            maximum = min(int(constraint.absolute or 0), dense)
        if maximum < smallest:
            least, most, asked = (constraint.shown(each) for each in (smallest, dense, maximum))
            raise BudgetError(
                f"budget {constraint} cannot be met: {asked} {constraint.name} is below the least that "
                f"this model can reach. Reachable: {least} to {most} "
                f"({100 * smallest / dense:.1f}% to 100%). Ask for more, or prune more kinds of units."
            )
        limits.append(Limit(constraint, maximum, dense, cost))
    return tuple(limits)


def _cost_function(constraint: Constraint, graph: PruningGraph, seconds: float) -> CostFunction:
    if constraint.metric == "latency":
        if constraint.table is None:
            raise BudgetError(
                f"budget {constraint}: the time that each width takes on this machine is not known. Give "
                "prune_ssl.with_latency(model, graph, budget, seconds) as the budget, which measures it once "
                "(PruningTrainer and the command line do so themselves)."
            )
        table = constraint.table
        if constraint.section is not None:
            frontend = constraint.section == "frontend"
            inside = {name for name, group in graph.groups.items() if (not group.block) == frontend}
            table = table.of_modules(inside)
        return LatencyCost(table, graph)
    if constraint.metric == "memory" and constraint.at.runtime != EAGER:
        if constraint.file is None:
            raise BudgetError(
                f"budget {constraint}: the size of the exported file is not known. Give "
                "prune_ssl.with_latency(model, graph, budget) as the budget, which exports the model once "
                "(PruningTrainer and the command line do so themselves)."
            )
        return constraint.file.cost(graph)
    if constraint.metric == "memory":
        if not constraint.names_dtype:
            return PolynomialCost(graph.stored_bytes(), 1, saved_overhead(graph))
        size = DTYPE_BYTES[constraint.at.dtype]
        return PolynomialCost(graph.polynomial("params"), size, saved_overhead(graph, size))
    return PolynomialCost(graph.polynomial(constraint.metric, constraint.section, seconds))
