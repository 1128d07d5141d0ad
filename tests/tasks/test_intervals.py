"""Bootstrap intervals: of means, ratios and any statistic, against their normal approximations."""

import numpy as np
import pytest

from prune_ssl.errors import DataError
from prune_ssl.tasks.intervals import bootstrap, bootstrap_interval, bootstrap_ratio


def test_the_interval_of_a_ratio_draws_clips_and_agrees_with_the_delta_method() -> None:
    generator = np.random.default_rng(1)
    lengths = generator.integers(1, 12, size=800)
    errors = generator.binomial(lengths, 0.3)
    low, high = bootstrap_ratio(errors, lengths)
    rate = errors.sum() / lengths.sum()
    # Variance of a ratio estimator, Cochran (1977), eq. 2.39.
    half = 1.96 * np.sqrt(((errors - rate * lengths) ** 2).mean() / len(lengths)) / lengths.mean()
    assert low == pytest.approx(rate - half, abs=2e-3)
    assert high == pytest.approx(rate + half, abs=2e-3)
    assert bootstrap_ratio(errors, lengths) == (low, high)
    assert bootstrap_ratio(errors, lengths, seed=1) != (low, high)


def test_a_ratio_with_equal_denominators_is_a_mean() -> None:
    values = np.array([0.0, 2.0, 1.0, 4.0])
    assert bootstrap_ratio(values, np.full(4, 2.0)) == bootstrap_interval(values / 2)


def test_the_bootstrap_takes_any_statistic() -> None:
    values = np.arange(100.0)
    low, high = bootstrap(lambda drawn: float(np.median(values[drawn])), 100)
    assert 30 < low < 49.5 < high < 70


@pytest.mark.parametrize(
    ("numerators", "denominators"), [([], []), ([1.0], [0.0]), ([1.0], [1.0, 2.0]), ([[1.0]], [[1.0]])]
)
def test_a_meaningless_ratio_is_refused(numerators: list[float], denominators: list[float]) -> None:
    with pytest.raises(DataError, match="bootstrap_ratio"):
        bootstrap_ratio(numerators, denominators)


def test_the_bootstrap_interval_agrees_with_the_normal_one_for_many_values() -> None:
    values = np.arange(2_000) % 5 > 0  # mean 0.8
    low, high = bootstrap_interval(values)
    half = 1.96 * np.sqrt(0.8 * 0.2 / 2_000)
    assert low == pytest.approx(0.8 - half, abs=2e-3)
    assert high == pytest.approx(0.8 + half, abs=2e-3)
    assert bootstrap_interval(values) == (low, high)


def test_the_bootstrap_interval_of_equal_values_is_a_point() -> None:
    assert bootstrap_interval([1.0, 1.0, 1.0]) == (1.0, 1.0)


@pytest.mark.parametrize(("values", "confidence"), [([], 0.95), ([[1.0]], 0.95), ([1.0], 95.0)])
def test_a_meaningless_interval_is_refused(values: list[float], confidence: float) -> None:
    with pytest.raises(DataError, match="bootstrap"):
        bootstrap_interval(values, confidence)
