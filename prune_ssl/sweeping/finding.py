"""The smallest model within a drop of the metric: bisection over budgets."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from statistics import mean

from prune_ssl.errors import RecipeError
from prune_ssl.recipes import Recipe
from prune_ssl.reporting.formatting import PERCENT_METRICS
from prune_ssl.reporting.sweep_point import SweepPoint
from prune_ssl.sweeping.attempts import Say
from prune_ssl.sweeping.cells import Trial
from prune_ssl.sweeping.plan import lay_out
from prune_ssl.sweeping.running import HERE, run_plan
from prune_ssl.sweeping.shards import Engine

LIMIT = re.compile(r"drop\s*<=\s*(?P<most>\d+(\.\d+)?)\s*(%|points?)?")
ENDS = re.compile(r"(?:(?P<metric>macs|params)=)?(?P<percent>\d+(\.\d+)?)%")


@dataclass(frozen=True)
class Search:
    """A search for the smallest budget: the largest drop, the ends of the range, and the step.

    Budgets are whole steps from `low`, so that a later search finds the runs of an earlier one.
    """

    most: float
    """The largest drop of the metric: in points of a percentage, else in units of the metric."""
    metric: str = "macs"
    """The quantity that the budgets limit."""
    low: float = 5.0
    """The smallest budget in percent. It is tried only if all larger ones are good."""
    high: float = 100.0
    """The largest budget in percent. The dense model, 100%, is not run: its drop is 0."""
    step: float = 2.5
    """The difference of two neighbouring budgets in percent."""

    @classmethod
    def parse(cls, text: str, ends: Sequence[str] = (), step: float = 2.5) -> "Search":
        """Read `drop<=1`, and the two ends of the range.

        Raises:
            RecipeError: a text is not of this form.

        >>> Search.parse("drop<=0.5", ["20%", "60%"]).budget(3)
        'macs=27.5%'
        """
        found = LIMIT.fullmatch(text.strip())
        if found is None:
            raise RecipeError(f"--find: found {text!r:.40}, wanted drop<=POINTS, such as drop<=1.")
        ranges = [ENDS.fullmatch(each) for each in ends]
        read = [each for each in ranges if each is not None]
        if ends and (len(read) != len(ends) or len(ends) != 2 or len({each["metric"] for each in read}) != 1):
            raise RecipeError(
                f"--find: --budgets {' '.join(ends):.60} is no range: give two percentages of one metric, "
                "such as '10% 80%'."
            )
        low, high = sorted(float(each["percent"]) for each in read) if read else (5.0, 100.0)
        if not (0 < low < high <= 100 and 0 < step <= high - low):
            raise RecipeError(
                f"--find: found the range {low:g}% to {high:g}% in steps of {step:g}%, wanted "
                "0 < low < high <= 100 and a step within the range."
            )
        return cls(float(found["most"]), (read[0]["metric"] if read else None) or "macs", low, high, step)

    @property
    def count(self) -> int:
        """The number of budgets, without the dense model."""
        return int((self.high - self.low) / self.step + 1e-9) + (self.high < 100)

    def budget(self, index: int) -> str:
        """Return a budget by its number, from the smallest."""
        return f"{self.metric}={min(self.low + index * self.step, self.high):g}%"


@dataclass
class Found:
    """The result of a search."""

    index: int | None
    """The number of the smallest good budget. None: no budget is good, so only the dense model is left."""
    tried: dict[int, float] = field(default_factory=dict)
    """The drop at each budget that was tried. Infinite: no model meets the budget."""


def bisect(count: int, drop_of: Callable[[int], float], most: float) -> Found:
    """Find the smallest of `count` budgets whose drop is at most `most`, in ceil(log2(count + 1)) trials.

    The drop is taken to fall as the budget grows. If it does not, the result is still a budget that was tried
    and is good, and the budget below it was tried and is not good.

    >>> bisect(20, lambda index: 20 - index, 5).index
    15
    """
    found = Found(None)
    bad, good = -1, count  # the index `count` stands for the dense model
    while good - bad > 1:
        middle = (bad + good) // 2
        found.tried[middle] = drop_of(middle)
        if found.tried[middle] <= most:
            good = middle
        else:
            bad = middle
    found.index = good if good < count else None
    return found


def drop(points: Sequence[SweepPoint]) -> float:
    """Return the mean drop of some models from their dense models. Negative: they are better.

    Raises:
        RecipeError: a dense model was not judged.
    """
    drops = []
    for point in points:
        if point.dense is None:
            raise RecipeError(
                "--find compares with the dense model, and no clips judge it: give a test split."
            )
        scale = 100 if point.metric.lower() in PERCENT_METRICS else 1
        dense = replace(point, value=point.dense)
        drops.append(scale * (dense.goodness - point.goodness))
    return mean(drops)


def find_smallest(
    recipe: Recipe, search: Search, cells: Sequence[Trial], out: Path, say: Say = print, engine: Engine = HERE
) -> list[SweepPoint]:
    """Find the smallest model of each method within a drop, and write the sweep's page with the answers.

    Args:
        recipe: The recipe of all trials.
        search: The largest drop, and the budgets to search.
        cells: Trials that name the methods and seeds. Their budgets are ignored. Drops are means over seeds.
        out: The folder of all runs. A search that was interrupted goes on there.
        say: Called with one line for each trial and for each answer.
        engine: The place where the trials run.

    Returns:
        The points of the smallest models, one for each method and seed.

    Raises:
        RecipeError: no clips judge the dense model.
        ArtifactError: the folder holds a sweep with other settings.
    """
    seeds = list(dict.fromkeys(cell.seed for cell in cells))
    tried, notes, answers = list[Trial](), list[str](), list[SweepPoint]()
    for method in dict.fromkeys(cell.method for cell in cells):

        def drop_of(index: int, method: str = method) -> float:
            each = [Trial(search.budget(index), method, seed) for seed in seeds]
            tried.extend(each)
            plan = lay_out(recipe, each, out, notes)
            engine.work(plan, say)
            points = plan.points()
            # A budget that a seed cannot meet is too small.
            fallen = drop(points) if len(points) == len(each) else inf
            say(f"{method}, {search.budget(index)}: drop {fallen:.2f}, wanted at most {search.most:g}")
            return fallen

        found = bisect(search.count, drop_of, search.most)
        notes.append(_answer(search, method, found, len(seeds)))
        say(notes[-1])
        if found.index is not None:
            best = [Trial(search.budget(found.index), method, seed) for seed in seeds]
            answers += lay_out(recipe, best, out).points()
    run_plan(replace(lay_out(recipe, tried, out, notes), stale=frozenset()), say, HERE)
    return answers


def _answer(search: Search, method: str, found: Found, seeds: int) -> str:
    """Return the result of a search in a sentence."""
    runs = sum(each < inf for each in found.tried.values()) * seeds
    counted = f"{runs} runs; a grid of the same budgets has {search.count * seeds}"
    wanted = f"a drop of at most {search.most:g}"
    if found.index is None:
        return f"{method}: no budget below {search.high:g}% has {wanted} ({counted})."
    below = found.tried.get(found.index - 1)
    beside = ""
    if below is not None:
        told = "is out of reach" if below == inf else f"drops {below:.2f}"
        beside = f"; {search.budget(found.index - 1)} {told}"
    return (
        f"{method}: the smallest model with {wanted} has {search.budget(found.index)}: it drops "
        f"{found.tried[found.index]:.2f}{beside} ({counted})."
    )
