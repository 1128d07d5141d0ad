"""Budgets: reads from text the greatest amounts that a model may keep."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from prune_ssl.errors import BudgetError
from prune_ssl.models.arguments import shown
from prune_ssl.runtimes.registry import EAGER, EXPORTED, RUNTIMES, runtime_named
from prune_ssl.selection.exported import ExportedFile
from prune_ssl.selection.latency import LatencyTable
from prune_ssl.selection.meant import likely_budgets, plain
from prune_ssl.tracing.cost import SECTIONS

Quantity = Literal["params", "macs", "memory", "latency"]
COUNTS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
TIMED_SECTIONS = ("frontend", "encoder")
"""The sections whose modules are timed, so that a latency may name them."""
UNITS: dict[Quantity, dict[str, int]] = {
    "params": COUNTS,
    "macs": COUNTS,
    "memory": {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9},
    "latency": {"us": 10**3, "ms": 10**6, "s": 10**9},  # limits are whole nanoseconds
}
"""Quantity -> unit -> number of counts (parameters, MACs, bytes, ns) in it."""
DTYPE_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
OPTIONS = ("threads", "seconds", "dtype", "runtime")
"""Options that may follow a latency after a comma; dtype and runtime may follow a memory as well."""
GRAMMAR = (
    "wanted what is KEPT: [SECTION.]macs=50%, [SECTION.]params=25M, memory=40MB[,dtype=float16] or "
    "[SECTION.]latency=12ms[@cpu,runtime=eager,threads=1,seconds=5], several separated by commas or "
    "semicolons"
)
NUMBER, UNIT = r"[0-9]*\.?[0-9]+", r"%|[A-Za-z]*"
PATTERN = re.compile(
    rf"(?:(?P<section>\w+)\.)?(?P<metric>\w+)\s*=\s*(?P<number>{NUMBER})\s*(?P<unit>{UNIT})"
    r"(?:@(?P<device>\w+))?"
)
LONGEST = 400
"""Characters of a number at most; the least double in percent has 342."""
MOST = 2**63
"""No model has so many parameters, MACs, bytes or nanoseconds; all counts fit into 64 bits."""


@dataclass(frozen=True)
class Conditions:
    """The conditions of a memory or a latency."""

    device: str = "cpu"
    threads: int = 1
    seconds: float | None = None
    """Audio length; None stands for the length at which MACs are counted."""
    dtype: str = "float32"
    runtime: str = EAGER
    """A key of `RUNTIMES`: where the model runs, or opens the file whose bytes are counted."""

    @property
    def where(self) -> str:
        """The runtime and its device in words, such as `onnx-int8 on cpu`. Eager PyTorch is only a device."""
        return self.device if self.runtime == EAGER else f"{self.runtime} on {self.device}"


@dataclass(frozen=True)
class Constraint:
    """The most that may be kept of one quantity: a `fraction` of the dense model, or an `absolute` amount."""

    metric: Quantity
    section: str | None = None
    fraction: float | None = None
    absolute: int | None = None
    """Parameters, MACs, bytes, or nanoseconds."""
    at: Conditions = Conditions()
    names_dtype: bool = field(default=False, compare=False)
    """Whether the budget names the dtype; a memory without one counts the dtypes of the saved tensors."""
    names_device: bool = field(default=False, compare=False)
    """Whether the budget names the device."""
    table: LatencyTable | None = field(default=None, repr=False, compare=False)
    """The times of this machine at several widths, without which a latency cannot be resolved."""
    file: ExportedFile | None = field(default=None, repr=False, compare=False)
    """The bytes of each parameter in an exported file, without which its memory cannot be resolved."""

    @property
    def name(self) -> str:
        """The left-hand side, such as `macs` or `frontend.macs`."""
        return f"{self.section}.{self.metric}" if self.section else self.metric

    @property
    def kind(self) -> tuple[str, bool, Conditions]:
        """The quantity and how it is constrained: two constraints of one kind differ in the amount only."""
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
            where += f",runtime={self.at.runtime}" if self.at.runtime != EAGER else ""
            where += (
                f",seconds={plain(Fraction(repr(self.at.seconds)))}" if self.at.seconds is not None else ""
            )
        elif self.at.runtime != EAGER:
            where = f",runtime={self.at.runtime}"
        if self.names_dtype or self.at.dtype != "float32":
            where += f",dtype={self.at.dtype}"
        if self.fraction is not None:
            return f"{self.name}={plain(100 * Fraction(repr(self.fraction)))}%{where}"
        return f"{self.name}={_with_unit(self.absolute or 0, UNITS[self.metric])}{where}"


def _with_unit(amount: int, units: Mapping[str, int]) -> str:
    """Return an amount that reads back equal: in the largest unit that takes two decimals, or in full.

    A bare number below 1000 would be refused, because nobody means so few parameters or MACs.
    """
    for unit, factor in sorted(units.items(), key=lambda pair: -pair[1]):
        if amount >= factor and amount * 100 % factor == 0 and (unit or amount >= 1000):
            return f"{plain(Fraction(amount, factor))}{unit}"
    unit = next(each for each in ("ms", "B", "" if amount >= 1000 else "K") if each in units)
    return f"{plain(Fraction(amount, units[unit]))}{unit}"


Budget = tuple[Constraint, ...]


def parse_budget(text: str) -> Budget:
    """Read a budget such as `macs=50%` or `params=25M,frontend.macs=40%`. Every amount is the one to KEEP.

    Raises:
        BudgetError: the text does not follow the grammar, or a percentage is outside (0, 100].

    Example:
        >>> macs, params = parse_budget("frontend.macs=40%,params=25M")
        >>> macs.name, macs.fraction
        ('frontend.macs', 0.4)
        >>> params.absolute
        25000000
        >>> str(params)
        'params=25M'
    """
    if not isinstance(text, str):
        raise BudgetError(
            f"budget: found {_short(text)} ({type(text).__name__}); {_did_you_mean(text)}{GRAMMAR}."
        )
    return _read(text)


@lru_cache(maxsize=64)
def _read(text: str) -> Budget:
    """Read a budget; the cache reads each text once."""
    if not text.strip():
        raise BudgetError(f"the budget is empty; {GRAMMAR}.")
    if re.search(rf"=\s*[0-9]+,[0-9]+\s*({UNIT})\s*(,|$)", text):
        raise BudgetError(
            f"budget {_short(text)}: "
            "a comma is between terms; wanted 1.5G and 1500000, not 1,5G and 1,500,000."
        )
    constraints: list[Constraint] = []
    for term in split_budget(text):
        part, *options = (part.strip() for part in term.split(","))
        constraint = _parse_part(part, text)
        for option in options:
            constraint = _with_option(constraint, option, text)
        constraints.append(constraint)
    constraints = [_on_its_device(constraint, text) for constraint in constraints]
    kinds = [(each.name, each.at if each.metric == "latency" else each.at.runtime) for each in constraints]
    if len(set(kinds)) != len(kinds):
        raise BudgetError(
            f"budget {_short(text)} names the same quantity twice; give each once. A latency or a memory may "
            "come once for each runtime."
        )
    return tuple(constraints)


def _on_its_device(constraint: Constraint, text: str) -> Constraint:
    """Return a constraint whose device is one of its runtime's: the usual one if the text names none.

    Raises:
        BudgetError: the runtime does not run on the device, has no file, or takes no dtype.
    """
    at, runtime = constraint.at, RUNTIMES[constraint.at.runtime]
    if constraint.metric == "memory" and at.runtime != EAGER and at.runtime not in EXPORTED:
        raise BudgetError(
            f"budget {_short(text)}: {at.runtime} opens no exported file whose bytes could be counted; "
            f"wanted one of {', '.join(EXPORTED)}."
        )
    if at.runtime != EAGER and at.dtype != "float32":
        raise BudgetError(
            f"budget {_short(text)}: the runtime {at.runtime} decides the dtype itself; leave dtype out."
        )
    if at.device in runtime.devices:
        return constraint
    if not constraint.names_device:
        return replace(constraint, at=replace(at, device=runtime.devices[0]))
    places = " or ".join(f"@{device}" for device in runtime.devices)
    raise BudgetError(f"budget {_short(text)}: {at.runtime} is measured {places} only, not @{at.device}.")


def as_budget(given: object) -> Budget:
    """Return the constraints of a budget that is given as text or as constraints.

    Raises:
        BudgetError: `given` is something else, or the text does not follow the grammar.
    """
    if isinstance(given, str):
        return parse_budget(given)
    if isinstance(given, tuple) and given and all(isinstance(each, Constraint) for each in given):
        return given
    hint = ""
    if isinstance(given, int | float) and not isinstance(given, bool) and 0 < given <= 100:
        hint = f" Did you mean 'macs={100 * given if given <= 1 else given:g}%'?"
    raise BudgetError(f"budget: found {shown(given)}; {GRAMMAR}.{hint}")


def asked_dtype(budget: str | Budget) -> str | None:
    """Return the dtype in which a budget counts its memory; None if it names none."""
    terms = parse_budget(budget) if isinstance(budget, str) else budget
    named = (each.at.dtype for each in terms if each.metric == "memory" and each.names_dtype)
    return next(named, None)


def split_budget(text: str) -> list[str]:
    """Return the terms of a budget as the user wrote them, each with its options.

    A semicolon may stand between terms as well, which is easier to read where terms have options.

    >>> split_budget("latency=12ms@cpu,threads=2; macs=50%")
    ['latency=12ms@cpu,threads=2', 'macs=50%']
    """
    terms: list[str] = []
    for several in text.split(";"):
        first = len(terms)
        for part in several.split(","):
            if len(terms) > first and part.partition("=")[0].strip() in OPTIONS:
                terms[-1] += f",{part}"
            else:
                terms.append(part)
    return [term.strip() for term in terms]


def _with_option(before: Constraint, option: str, text: str) -> Constraint:
    takes = {"latency": OPTIONS, "memory": ("dtype", "runtime")}
    name, _, value = (side.strip() for side in option.partition("="))
    if name not in takes.get(before.metric, ()):
        raise BudgetError(f"{_in(option, text)} must follow the term that it belongs to: {GRAMMAR}.")
    at = _conditions_with(before.at, name, value)
    if at is None:
        wanted = f"one of {', '.join(DTYPE_BYTES)}" if name == "dtype" else "a number above 0"
        raise BudgetError(f"{_in(option, text)}: wanted {wanted}.")
    names_dtype = before.names_dtype or (name == "dtype" and before.metric == "memory")
    return replace(before, at=at, names_dtype=names_dtype)


def _conditions_with(at: Conditions, name: str, value: str) -> Conditions | None:
    """Return conditions with one option set from its text; None if the option cannot have the value."""
    if name == "threads":
        threads = int(value) if re.fullmatch("[0-9]{1,6}", value) else 0
        return replace(at, threads=threads) if threads else None
    if name == "seconds":
        seconds = float(value) if re.fullmatch(NUMBER, value) and len(value) < LONGEST else 0.0
        return replace(at, seconds=seconds) if 0 < seconds < float("inf") else None
    if name == "runtime" and value == "cuda":  # a device, whose usual runtime is eager PyTorch
        return replace(at, device="cuda")
    if name == "runtime":
        return replace(at, runtime=runtime_named(value).name)
    return replace(at, dtype=value) if value in DTYPE_BYTES else None


def _parse_part(part: str, text: str) -> Constraint:
    if part.partition("=")[0].strip() in OPTIONS:
        raise BudgetError(f"{_in(part, text)} must follow the term that it belongs to: {GRAMMAR}.")
    match = PATTERN.fullmatch(part)
    if match is None or len(match["number"]) > LONGEST:
        raise BudgetError(f"cannot read {_in(part, text)}; {_did_you_mean(part)}{GRAMMAR}.")
    metric, section, unit = _quantity(match["metric"]), match["section"], match["unit"]
    if metric is None:
        raise BudgetError(f"unknown quantity {_in(match['metric'], text)}; {_did_you_mean(part)}{GRAMMAR}.")
    sections = {"memory": (), "latency": TIMED_SECTIONS}.get(metric, SECTIONS)
    if section is not None and section not in sections:
        if section in SECTIONS:
            of = f"of {' and '.join(sections)}" if sections else "of the whole model"
            raise BudgetError(
                f"{_short(part)}: a {metric} is {of}; all sections have params and macs, as in "
                f"{section}.macs=50%."
            )
        raise BudgetError(
            f"unknown section {_in(section, text)}; {_did_you_mean(part)}wanted one of {', '.join(SECTIONS)}."
        )
    if match["device"] is not None and (metric != "latency" or match["device"] not in ("cpu", "cuda")):
        raise BudgetError(f"{_short(part)}: only a latency has a device, @cpu or @cuda: {GRAMMAR}.")
    at = Conditions(device=match["device"] or "cpu")
    try:
        fraction, absolute = _amount(metric, Fraction(match["number"]), unit)
    except ValueError as problem:
        raise BudgetError(f"{_in(part, text)}: {problem}; {_did_you_mean(part)}{GRAMMAR}.") from problem
    return Constraint(metric, section, fraction, absolute, at, names_device=match["device"] is not None)


def _quantity(written: str) -> Quantity | None:
    return next((each for each in UNITS if each == written), None)


def _amount(metric: Quantity, number: Fraction, unit: str) -> tuple[float | None, int | None]:
    """Return the fraction or the absolute amount.

    Raises:
        ValueError: there is no such amount; the message says why.
    """
    if unit == "%":
        fraction = float(number / 100) if number <= 100 else 0.0
        if not fraction:
            raise ValueError("a percentage says what is kept, so it must be above 0 and at most 100")
        return fraction, None
    if unit not in UNITS[metric]:
        raise ValueError(f"{metric} has the units % and {', '.join(name for name in UNITS[metric] if name)}")
    absolute = round(number * UNITS[metric][unit])
    if not 1 <= absolute < MOST:
        raise ValueError("it keeps nothing" if absolute < 1 else "it is more than any model has")
    if not unit and absolute < 1000:
        raise ValueError(f"that is {absolute} {metric}")
    return None, absolute


def _did_you_mean(given: object) -> str:
    """Return a question such as `did you mean macs=50%? ` if the meaning can be guessed; else ""."""
    likely = [each for each in likely_budgets(str(given), OPTIONS) if _can_be_read(each)]
    return f"did you mean {' or '.join(likely)}? " if likely else ""


def _can_be_read(text: str) -> bool:
    if text.startswith(OPTIONS):
        return True
    try:
        for term in text.split(","):
            match = PATTERN.fullmatch(term)
            metric = None if match is None else _quantity(match["metric"])
            if match is None or metric is None:
                return False
            _amount(metric, Fraction(match["number"]), match["unit"])
    except ValueError:
        return False
    return True


def _in(part: str, text: str) -> str:
    return _short(part) if part == text.strip() else f"{_short(part)} in the budget {_short(text)}"


def _short(given: object) -> str:
    """Return a value in quotes, on one line, at most about 80 characters of it."""
    shown = repr(given)
    return shown if len(shown) <= 80 else f"{shown[:60]}...{shown[-12:]}"
