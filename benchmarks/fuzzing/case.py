"""A case of fuzzing."""

from collections.abc import Callable
from typing import NamedTuple


class Case(NamedTuple):
    """One input.

    `act` gives the input to the tool. If it returns, the tool took the input, and the result was checked. A
    PruneError means that the tool refused it. An AssertionError means a wrong result. All else is a fault.
    """

    label: str
    """The input, short enough to print, exact enough to repeat by hand."""
    act: Callable[[], object]
