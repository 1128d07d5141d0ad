"""Paired differences between the methods of a sweep, on the same clips and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean, stdev

from prune_ssl.reporting.formatting import points, points_with_ends
from prune_ssl.reporting.sweep_point import SweepPoint
from prune_ssl.tasks import PairedDifference, paired_difference


@dataclass(frozen=True)
class MethodDifference:
    """The difference of one method from the first one at one budget, over the seeds that both have."""

    budget: str
    method: str
    against: str
    """The first method of the sweep. The difference is `method` minus `against`."""
    by_seed: dict[int, PairedDifference]
    """The difference of each seed."""
    overall: PairedDifference
    """The mean over the seeds, with an interval over speakers or clips for these seeds."""

    @property
    def seed_error(self) -> float | None:
        """The standard error of the mean over seeds. None: there is one seed."""
        values = [each.difference for each in self.by_seed.values()]
        return stdev(values) / sqrt(len(values)) if len(values) > 1 else None


def method_differences(found: Sequence[SweepPoint]) -> list[MethodDifference]:
    """Return the differences of all methods from the first one, budget by budget.

    Points without outcomes, or judged on other clips, are not compared.
    """
    methods = list(dict.fromkeys(point.method for point in found))
    known = {
        (point.budget, point.method, point.seed): point.outcomes
        for point in found
        if point.outcomes is not None
    }
    made = []
    for budget in dict.fromkeys(point.budget for point in found):
        for method in methods[1:]:
            pairs = {
                seed: (known[budget, methods[0], seed], outcomes)
                for (cost, name, seed), outcomes in known.items()
                if (cost, name) == (budget, method) and (budget, methods[0], seed) in known
            }
            pairs = {seed: both for seed, both in pairs.items() if both[0].judged == both[1].judged}
            if len({both[0].judged for both in pairs.values()}) != 1:
                continue
            by_seed = {seed: paired_difference(*both) for seed, both in pairs.items()}
            first, other = zip(*pairs.values(), strict=True)
            overall = paired_difference(first, other)
            made.append(MethodDifference(budget, method, methods[0], by_seed, overall))
    return made


COLUMNS = ("method", "budget", "seeds", "mean difference (95% interval)", "error over seeds", "drawn")


def difference_cells(found: MethodDifference) -> list[str]:
    """Return the cells of one difference in the order of COLUMNS."""
    metric, overall, error = found.overall.metric, found.overall, found.seed_error
    difference = mean(each.difference for each in found.by_seed.values())
    return [
        found.method,
        found.budget,
        ", ".join(map(str, sorted(found.by_seed))),
        points_with_ends(metric, difference, overall.low, overall.high),
        "-" if error is None else points(metric, error).lstrip("+"),
        overall.drawn,
    ]


CSV_COLUMNS = ("against", "difference", "difference_low", "difference_high", "difference_drawn")
"""The columns of a point's paired difference from the first method with the same budget and seed."""


def csv_cells(found: Sequence[MethodDifference], point: SweepPoint) -> Sequence[str | float]:
    """Return the cells of one point in the order of CSV_COLUMNS. They are empty if it was not compared."""
    for each in found:
        mine = each.by_seed.get(point.seed)
        if mine is not None and (each.budget, each.method) == (point.budget, point.method):
            return each.against, mine.difference, mine.low, mine.high, mine.drawn
    return ("",) * len(CSV_COLUMNS)
