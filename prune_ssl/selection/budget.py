"""Budgets: what must be kept, parsed from text and resolved to absolute limits for one model."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prune_ssl.errors import BudgetError
from prune_ssl.tracing import PruningGraph
from prune_ssl.tracing.cost import SECTIONS, Metric, Polynomial

MULTIPLES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
GRAMMAR = "wanted [SECTION.]macs=50% or [SECTION.]params=25M, several separated by commas"
PATTERN = re.compile(
    r"^(?:(?P<section>\w+)\.)?(?P<metric>\w+)\s*=\s*(?P<number>[0-9]*\.?[0-9]+)\s*(?P<unit>%|[KMGT]?)$"
)


@dataclass(frozen=True)
class Constraint:
    """One thing to keep at most: `fraction` of the dense model's, or an `absolute` amount."""

    metric: Metric
    section: str | None = None
    fraction: float | None = None
    absolute: int | None = None

    @property
    def name(self) -> str:
        """Canonical left-hand side, such as `macs` or `frontend.macs`."""
        return f"{self.section}.{self.metric}" if self.section else self.metric

    def __str__(self) -> str:
        if self.fraction is not None:
            return f"{self.name}={100 * self.fraction:g}%"
        return f"{self.name}={self.absolute}"


Budget = tuple[Constraint, ...]


@dataclass(frozen=True)
class Limit:
    """A constraint resolved for one model: an integer that the small model must not exceed."""

    constraint: Constraint
    maximum: int
    dense: int
    polynomial: Polynomial

    @property
    def fraction(self) -> float:
        """The limit as a fraction of the dense model's cost."""
        return self.maximum / self.dense

    def change(self, group: str, width: int, widths: Mapping[str, int]) -> int:
        """Return by how much the cost changes when `group` goes from its width in `widths` to `width`."""
        return (width - widths[group]) * self.polynomial.marginal(group, widths)

    def coupled(self, group: str) -> set[str]:
        """Return the groups whose changes depend on the width of `group`, itself among them."""
        terms = self.polynomial.by_group.get(group, [])
        return {group}.union(*(others for _, others in terms))


def parse_budget(text: str) -> Budget:
    """Read a budget such as `macs=50%` or `params=25M,frontend.macs=40%`. Everything is what is KEPT.

    Raises:
        BudgetError: the text does not follow the grammar, or a percentage is outside (0, 100].
    """
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if not parts:
        raise BudgetError(f"the budget is empty; {GRAMMAR}.")
    constraints = tuple(_parse_part(part, text) for part in parts)
    names = [constraint.name for constraint in constraints]
    if len(set(names)) != len(names):
        raise BudgetError(f"budget {text!r} names the same quantity twice; give each once.")
    return constraints


def _parse_part(part: str, text: str) -> Constraint:
    name = part.partition("=")[0].strip().rpartition(".")[2]
    if name in ("latency", "memory"):
        raise BudgetError(f"{name} budgets are not supported yet (found {part!r}); use macs or params.")
    match = PATTERN.match(part)
    if match is None:
        raise BudgetError(f"cannot read {part!r} in the budget {text!r}: {GRAMMAR}.")
    metric, section, unit = match["metric"], match["section"], match["unit"]
    if metric not in ("macs", "params"):
        raise BudgetError(f"unknown quantity {metric!r} in the budget {text!r}: {GRAMMAR}.")
    if section is not None and section not in SECTIONS:
        raise BudgetError(
            f"unknown section {section!r} in the budget {text!r}; wanted one of {', '.join(SECTIONS)}."
        )
    number = float(match["number"])
    if unit == "%":
        if not 0 < number <= 100:
            raise BudgetError(
                f"{part!r}: a percentage says what is kept, so it must be above 0 and at most 100."
            )
        return Constraint(metric, section, fraction=number / 100)  # type: ignore[arg-type]
    absolute = round(number * MULTIPLES[unit])
    if absolute < 1:
        raise BudgetError(f"{part!r} keeps nothing; did you mean {number:g}% or {number:g}M?")
    if not unit and absolute < 1000:
        raise BudgetError(f"{part!r} is {absolute} {metric}; did you mean {part}% or {part}M?")
    return Constraint(metric, section, absolute=absolute)  # type: ignore[arg-type]


def floor_widths(graph: PruningGraph, widths: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Return the smallest allowed width of every group."""
    return {name: widths[name][0] for name in graph.groups}


def reachable(
    graph: PruningGraph, polynomial: Polynomial, widths: Mapping[str, Sequence[int]]
) -> tuple[int, int]:
    """Return (smallest, dense) cost that the allowed widths can reach."""
    smallest = polynomial.value(floor_widths(graph, widths))
    return smallest, polynomial.value(graph.widths())


def resolve(
    budget: str | Budget, graph: PruningGraph, widths: Mapping[str, Sequence[int]], seconds: float
) -> tuple[Limit, ...]:
    """Turn a budget into integer limits for this model.

    Args:
        budget: text or parsed constraints.
        graph: the traced model; percentages refer to its own (dense) cost, unprunable parts included.
        widths: allowed widths of every group, smallest first.
        seconds: audio length at which MACs are counted.

    Raises:
        BudgetError: a limit is below what can be reached; the message gives the reachable range.
    """
    constraints = parse_budget(budget) if isinstance(budget, str) else budget
    limits = []
    for constraint in constraints:
        polynomial = graph.polynomial(constraint.metric, constraint.section, seconds)
        smallest, dense = reachable(graph, polynomial, widths)
        if dense == 0:
            raise BudgetError(f"budget {constraint}: the model has no {constraint.name} to prune.")
        if constraint.fraction is not None:
            maximum = int(constraint.fraction * dense)
        else:
            maximum = min(int(constraint.absolute or 0), dense)
        if maximum < smallest:
            raise BudgetError(
                f"budget {constraint} cannot be met: {maximum:,} {constraint.name} is below the least that "
                f"this model can reach. Reachable: {smallest:,} to {dense:,} "
                f"({100 * smallest / dense:.1f}% to 100%). Ask for more, or prune more kinds of units."
            )
        limits.append(Limit(constraint, maximum, dense, polynomial))
    return tuple(limits)
