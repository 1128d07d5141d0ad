"""Selection: budgets, criteria and the solver that turns scores or probabilities into a keep."""

from typing import TYPE_CHECKING

from prune_ssl.lazy_names import lazily

if TYPE_CHECKING:
    from prune_ssl.selection.budget import (
        Budget,
        Conditions,
        Constraint,
        as_budget,
        asked_dtype,
        parse_budget,
        split_budget,
    )
    from prune_ssl.selection.calibration import Evidence, per_unit, unit_sums
    from prune_ssl.selection.choosing import select
    from prune_ssl.selection.criteria import (
        CRITERIA,
        Criterion,
        Normalise,
        needing_no_data,
        register_criterion,
        score_units,
        unit_prices,
    )
    from prune_ssl.selection.kinds import KINDS, UNIT_KINDS
    from prune_ssl.selection.limits import Bounds, Limit, bounds_of, reachable, resolve
    from prune_ssl.selection.solver import solve
    from prune_ssl.selection.stock import STOCK_KINDS, Layout, ties_of
    from prune_ssl.selection.widths import AllowedWidths, allowed_widths, check_kinds

__getattr__, __dir__ = lazily(
    __name__,
    {
        "prune_ssl.selection.budget": (
            "Budget Conditions Constraint as_budget asked_dtype parse_budget split_budget"
        ),
        "prune_ssl.selection.calibration": "Evidence per_unit unit_sums",
        "prune_ssl.selection.choosing": "select",
        "prune_ssl.selection.criteria": (
            "CRITERIA Criterion Normalise needing_no_data register_criterion score_units unit_prices"
        ),
        "prune_ssl.selection.limits": "Bounds Limit bounds_of reachable resolve",
        "prune_ssl.selection.solver": "solve",
        "prune_ssl.selection.stock": "STOCK_KINDS Layout ties_of",
        "prune_ssl.selection.kinds": "KINDS UNIT_KINDS",
        "prune_ssl.selection.widths": "AllowedWidths allowed_widths check_kinds",
    },
)

__all__ = [
    "CRITERIA",
    "KINDS",
    "STOCK_KINDS",
    "UNIT_KINDS",
    "AllowedWidths",
    "Bounds",
    "Budget",
    "Conditions",
    "Constraint",
    "Criterion",
    "Evidence",
    "Layout",
    "Limit",
    "Normalise",
    "allowed_widths",
    "as_budget",
    "asked_dtype",
    "bounds_of",
    "check_kinds",
    "needing_no_data",
    "parse_budget",
    "per_unit",
    "reachable",
    "register_criterion",
    "resolve",
    "score_units",
    "select",
    "solve",
    "split_budget",
    "ties_of",
    "unit_prices",
    "unit_sums",
]
