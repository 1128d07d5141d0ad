"""Selection: budgets, criteria and the solver that turns scores or probabilities into a keep."""

from prune_ssl.selection.budget import (
    Budget,
    Conditions,
    Constraint,
    Limit,
    as_budget,
    parse_budget,
    reachable,
    resolve,
    split_budget,
)
from prune_ssl.selection.choosing import select
from prune_ssl.selection.criteria import CRITERIA, Normalise, score_units, unit_prices
from prune_ssl.selection.solver import KINDS, UNIT_KINDS, allowed_widths, check_kinds, solve
from prune_ssl.selection.stock import STOCK_KINDS, Layout, ties_of

__all__ = [
    "CRITERIA",
    "KINDS",
    "STOCK_KINDS",
    "UNIT_KINDS",
    "Budget",
    "Conditions",
    "Constraint",
    "Layout",
    "Limit",
    "Normalise",
    "allowed_widths",
    "as_budget",
    "check_kinds",
    "parse_budget",
    "reachable",
    "resolve",
    "score_units",
    "select",
    "solve",
    "split_budget",
    "ties_of",
    "unit_prices",
]
