"""Budgets: what must be kept, parsed from text and resolved to absolute limits for one model."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Literal

from prune_ssl.errors import BudgetError
from prune_ssl.selection.costs import CostFunction, PolynomialCost, saved_overhead
from prune_ssl.selection.latency import LatencyCost, LatencyTable
from prune_ssl.tracing import PruningGraph
from prune_ssl.tracing.cost import SECTIONS

Quantity = Literal["params", "macs", "memory", "latency"]
COUNTS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
UNITS: dict[str, dict[str, int]] = {
    "params": COUNTS,
    "macs": COUNTS,
    "memory": {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9},
    "latency": {"us": 10**3, "ms": 10**6, "s": 10**9},  # limits are whole nanoseconds
}
"""Quantity -> unit -> factor to what its limit is counted in."""
DTYPE_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
OPTIONS = ("threads", "seconds", "dtype")  # may follow a latency (dtype a memory as well), after a comma
GRAMMAR = (
    "wanted [SECTION.]macs=50%, [SECTION.]params=25M, memory=40MB[,dtype=float16] or "
    "latency=12ms[@cpu,threads=1,seconds=5], several separated by commas"
)
PATTERN = re.compile(
    r"^(?:(?P<section>\w+)\.)?(?P<metric>\w+)\s*=\s*(?P<number>[0-9]*\.?[0-9]+)\s*(?P<unit>%|[A-Za-z]*)"
    r"(?:@(?P<device>\w+))?$"
)


@dataclass(frozen=True)
class Conditions:
    """Under what a memory or a latency is meant."""

    device: str = "cpu"
    threads: int = 1
    seconds: float | None = None
    """Audio length; None: that of the MACs."""
    dtype: str = "float32"


@dataclass(frozen=True)
class Constraint:
    """One thing to keep at most: `fraction` of the dense model's, or an `absolute` amount."""

    metric: Quantity
    section: str | None = None
    fraction: float | None = None
    absolute: int | None = None
    """Parameters, MACs, bytes, or nanoseconds."""
    at: Conditions = Conditions()
    names_dtype: bool = False
    """Whether the dtype was asked for; a memory without it counts in what `save_pretrained` writes."""
    table: LatencyTable | None = field(default=None, repr=False, compare=False)
    """What this machine takes for which widths; needed to resolve a latency."""

    @property
    def name(self) -> str:
        """Canonical left-hand side, such as `macs` or `frontend.macs`."""
        return f"{self.section}.{self.metric}" if self.section else self.metric

    @property
    def kind(self) -> tuple[str, bool, Conditions]:
        """What it constrains and how: two constraints of the same kind differ in the amount only."""
        return self.name, self.fraction is None, self.at

    @property
    def amount(self) -> float:
        """The fraction, or the absolute amount."""
        return self.fraction if self.fraction is not None else float(self.absolute or 0)

    def shown(self, amount: int) -> str:
        """Return an amount of this quantity with its unit."""
        if self.metric == "latency":
            return f"{amount / 1e6:,.2f} ms"
        return f"{amount:,} B" if self.metric == "memory" else f"{amount:,}"

    def __str__(self) -> str:
        where = ""
        if self.metric == "latency":
            where = f"@{self.at.device},threads={self.at.threads}"
            where += f",seconds={self.at.seconds:g}" if self.at.seconds is not None else ""
        if self.names_dtype or self.at.dtype != "float32":
            where += f",dtype={self.at.dtype}"
        if self.fraction is not None:
            return f"{self.name}={100 * self.fraction:g}%{where}"
        unit, factor = list(UNITS[self.metric].items())[0 if self.metric != "latency" else 1]
        return f"{self.name}={(self.absolute or 0) / factor:.10g}{unit}{where}"


Budget = tuple[Constraint, ...]


@dataclass(frozen=True)
class Limit:
    """A constraint resolved for one model: an integer that the small model must not exceed."""

    constraint: Constraint
    maximum: int
    dense: int
    polynomial: CostFunction

    @property
    def fraction(self) -> float:
        """The limit as a fraction of the dense model's cost."""
        return self.maximum / self.dense

    def change(self, group: str, width: int, widths: Mapping[str, int]) -> int:
        """Return by how much the cost changes when `group` goes from its width in `widths` to `width`."""
        return self.polynomial.change(group, width, widths)


def parse_budget(text: str) -> Budget:
    """Read a budget such as `macs=50%` or `params=25M,frontend.macs=40%`. Everything is what is KEPT.

    Raises:
        BudgetError: the text does not follow the grammar, or a percentage is outside (0, 100].
    """
    if not text.strip():
        raise BudgetError(f"the budget is empty; {GRAMMAR}.")
    constraints: list[Constraint] = []
    for term in split_budget(text):
        part, *options = (part.strip() for part in term.split(","))
        constraint = _parse_part(part, text)
        for option in options:
            constraint = _with_option(constraint, option, text)
        constraints.append(constraint)
    names = [constraint.name for constraint in constraints]
    if len(set(names)) != len(names):
        raise BudgetError(f"budget {text!r} names the same quantity twice; give each once.")
    return tuple(constraints)


def asked_dtype(budget: str | Budget) -> str | None:
    """Return the dtype that a budget counts its memory in, where it names one."""
    terms = parse_budget(budget) if isinstance(budget, str) else budget
    named = (each.at.dtype for each in terms if each.metric == "memory" and each.names_dtype)
    return next(named, None)


def split_budget(text: str) -> list[str]:
    """Return the terms of a budget as they were written, each with its options."""
    terms: list[str] = []
    for part in text.split(","):
        if terms and part.partition("=")[0].strip() in OPTIONS:
            terms[-1] += f",{part}"
        else:
            terms.append(part)
    return [term.strip() for term in terms]


def _with_option(before: Constraint, option: str, text: str) -> Constraint:
    takes = {"latency": OPTIONS, "memory": ("dtype",)}
    name, _, value = (side.strip() for side in option.partition("="))
    if name not in takes.get(before.metric, ()):
        raise BudgetError(f"{name}={value} in the budget {text!r} must follow what it belongs to: {GRAMMAR}.")
    readers: dict[str, Callable[[str], Any]] = {"threads": int, "seconds": float, "dtype": str}
    try:
        read = readers[name](value)
    except ValueError:
        read = None
    if read is None or (read not in DTYPE_BYTES if name == "dtype" else not 0 < read < inf):
        wanted = f"one of {', '.join(DTYPE_BYTES)}" if name == "dtype" else "a number above 0"
        raise BudgetError(f"{name}={value} in the budget {text!r}: wanted {wanted}.")
    return replace(
        before,
        at=replace(before.at, **{name: read}),
        names_dtype=before.names_dtype or (name == "dtype" and before.metric == "memory"),
    )


def _parse_part(part: str, text: str) -> Constraint:
    if part.partition("=")[0].strip() in OPTIONS:
        raise BudgetError(f"{part} in the budget {text!r} must follow what it belongs to: {GRAMMAR}.")
    match = PATTERN.match(part)
    if match is None:
        raise BudgetError(f"cannot read {part!r} in the budget {text!r}: {GRAMMAR}.")
    metric, section, unit = match["metric"], match["section"], match["unit"]
    if metric not in UNITS:
        raise BudgetError(f"unknown quantity {metric!r} in the budget {text!r}: {GRAMMAR}.")
    if section is not None and (section not in SECTIONS or metric not in ("params", "macs")):
        raise BudgetError(
            f"unknown section {section!r} in the budget {text!r}; wanted one of {', '.join(SECTIONS)}."
            if section not in SECTIONS
            else f"{part!r}: {metric} is of the whole model; sections have params and macs."
        )
    if match["device"] is not None and (metric != "latency" or match["device"] not in ("cpu", "cuda")):
        raise BudgetError(f"{part!r}: only a latency has a device, @cpu or @cuda: {GRAMMAR}.")
    at = Conditions(device=match["device"] or "cpu")
    number = float(match["number"])
    if unit == "%":
        if not 0 < number <= 100:
            raise BudgetError(
                f"{part!r}: a percentage says what is kept, so it must be above 0 and at most 100."
            )
        return Constraint(metric, section, fraction=number / 100, at=at)  # type: ignore[arg-type]
    if unit not in UNITS[metric]:
        units = ", ".join(name for name in UNITS[metric] if name)
        raise BudgetError(f"{part!r}: {metric} has the units % and {units}: {GRAMMAR}.")
    absolute = round(number * UNITS[metric][unit])
    if absolute < 1:
        raise BudgetError(f"{part!r} keeps nothing; did you mean {number:g}% or {number:g}M?")
    if not unit and absolute < 1000:
        raise BudgetError(f"{part!r} is {absolute} {metric}; did you mean {part}% or {part}M?")
    return Constraint(metric, section, absolute=absolute, at=at)  # type: ignore[arg-type]


def floor_widths(graph: PruningGraph, widths: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Return the smallest allowed width of every group."""
    return {name: widths[name][0] for name in graph.groups}


def reachable(
    graph: PruningGraph, polynomial: CostFunction, widths: Mapping[str, Sequence[int]]
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
        polynomial = _cost_function(constraint, graph, seconds)
        smallest, dense = reachable(graph, polynomial, widths)
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
        limits.append(Limit(constraint, maximum, dense, polynomial))
    return tuple(limits)


def _cost_function(constraint: Constraint, graph: PruningGraph, seconds: float) -> CostFunction:
    if constraint.metric == "latency":
        if constraint.table is None:
            raise BudgetError(
                f"budget {constraint}: what widths cost on this machine is not known. Give "
                "prune_ssl.with_latency(model, graph, budget, seconds) as the budget, which measures it once "
                "(PruningTrainer and the command line do so themselves)."
            )
        return LatencyCost(constraint.table, graph)
    if constraint.metric == "memory":
        if not constraint.names_dtype:
            return PolynomialCost(graph.stored_bytes(), 1, saved_overhead(graph))
        size = DTYPE_BYTES[constraint.at.dtype]
        return PolynomialCost(graph.polynomial("params"), size, saved_overhead(graph, size))
    return PolynomialCost(graph.polynomial(constraint.metric, constraint.section, seconds))
