"""Which cases of a test are in the fast suite, and which are marked slow."""

from collections.abc import Container, Iterable
from typing import Any

import pytest


def slow_but(fast: Container[Any], cases: Iterable[Any]) -> list[Any]:
    """All cases as parameters; those that are not in `fast` are marked slow."""
    return [
        each
        if each in fast
        else pytest.param(*(each if isinstance(each, tuple) else (each,)), marks=pytest.mark.slow)
        for each in cases
    ]
