"""What a kind of fuzzing yields."""

from collections.abc import Callable
from typing import NamedTuple


class Case(NamedTuple):
    """One input.

    `act` gives it to the tool. To return means: taken, and what came of it was checked to be right. A
    PruneError means: refused. An AssertionError means: taken, and wrong. All else is a fault of the tool.
    """

    label: str
    """The input, short enough to print, exact enough to repeat by hand."""
    act: Callable[[], object]
