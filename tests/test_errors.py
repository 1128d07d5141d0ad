"""Errors of the package: one base class, and every kind says what it is for."""

import inspect

import pytest

import prune_ssl
from prune_ssl import errors

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
REFUSALS = [kind for kind in KINDS if kind is not errors.PruneWarning]


@pytest.mark.parametrize("kind", REFUSALS)
def test_one_clause_catches_every_refusal(kind) -> None:
    with pytest.raises(errors.PruneError, match="why"):
        raise kind("why")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_says_what_it_is_for(kind) -> None:
    assert kind.__module__ == errors.__name__
    assert "__doc__" in vars(kind)
    assert kind.__doc__.splitlines()[0].endswith(".")


def test_kinds_are_told_apart() -> None:
    assert len(REFUSALS) > 10
    for kind in REFUSALS:
        others = [other for other in REFUSALS if other not in (kind, errors.PruneError)]
        if kind is not errors.PruneError:
            assert not issubclass(kind, tuple(others))


def test_a_senseless_measurement_is_a_value_error_too() -> None:
    assert issubclass(errors.MeasuringError, ValueError)


def test_a_warning_is_no_error() -> None:
    assert issubclass(errors.PruneWarning, UserWarning)
    assert not issubclass(errors.PruneWarning, errors.PruneError)
    assert prune_ssl.PruneWarning is errors.PruneWarning
