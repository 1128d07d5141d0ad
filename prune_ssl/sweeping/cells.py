"""The trials of a sweep: combinations of budget, method and seed, and the recipe of each."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from prune_ssl.errors import RecipeError
from prune_ssl.recipes import Recipe, make_recipe
from prune_ssl.recipes.written import recipe_as_data
from prune_ssl.selection import parse_budget

BARE_PERCENT = re.compile(r"[0-9.]+%")


@dataclass(frozen=True)
class Trial:
    """One combination of budget, method and seed.

    >>> Trial("macs=50%", "iterative/taylor", 0).name
    'iterative-taylor-macs-50-s0'
    """

    budget: str
    method: str
    """`gates`, or `one_shot` or `iterative` with a criterion: `iterative/taylor`."""
    seed: int

    @property
    def name(self) -> str:
        """The name of the trial's folder."""
        return re.sub(r"[^\w.]+", "-", f"{self.method}-{self.budget}-s{self.seed}")


def trials(budgets: Sequence[str], methods: Sequence[str], seeds: Sequence[int]) -> list[Trial]:
    """Return all combinations, seed by seed. A bare percentage means MACs.

    Raises:
        BudgetError: a budget is malformed.

    >>> [trial.budget for trial in trials(["50%", "params=5M"], ["gates"], [0])]
    ['macs=50%', 'params=5M']
    """
    full = [f"macs={budget}" if BARE_PERCENT.fullmatch(budget) else budget for budget in budgets]
    for budget in full:
        parse_budget(budget)
    cells = (Trial(budget, method, seed) for seed, budget, method in product(seeds, full, methods))
    return list(dict.fromkeys(cells))


def recipe_of(recipe: Recipe, cell: Trial, out: Path) -> Recipe:
    """Return the recipe of one trial, whose output is a folder in `out`.

    Raises:
        RecipeError: the method does not exist, or takes no criterion.
    """
    method, _, criterion = cell.method.partition("/")
    data = recipe_as_data(recipe)
    data["pruning"] |= {"budget": cell.budget, "budgets": [], "method": method}
    if criterion:
        data["pruning"]["criterion"] = criterion
    data |= {"seed": cell.seed, "output": str(out / cell.name)}
    made = make_recipe(data, f"sweep, {cell.name}")
    if method == "gates" and criterion:
        raise RecipeError(
            f"method {cell.method!r}: gates take no criterion; wanted gates or iterative/taylor."
        )
    return made


def recipe_from_dense(recipe: Recipe, cell: Trial, dense: Path) -> Recipe:
    """Return the recipe of a trial that starts from the dense model of another trial of its seed."""
    data = recipe_as_data(recipe)
    data["model"] |= {"name": str(dense), "config": {}}
    return make_recipe(data | {"dense": None}, f"sweep, {cell.name}")
