"""Equal error rate and detection cost against slow versions that follow the definitions word by word."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_ssl.errors import DataError
from prune_ssl.tasks.metrics import (
    EqualErrorRate,
    MinDetectionCost,
)
from prune_ssl.tasks.verification_metrics import equal_error_rate, min_detection_cost


def slow_rates(scores: list[float], targets: list[int], threshold: float) -> tuple[float, float]:
    """Miss and false alarm rate of accepting every score above the threshold."""
    wanted = [s for s, t in zip(scores, targets, strict=True) if t]
    others = [s for s, t in zip(scores, targets, strict=True) if not t]
    misses = sum(s <= threshold for s in wanted) / len(wanted)
    return misses, sum(s > threshold for s in others) / len(others)


def slow_points(scores: list[float], targets: list[int]) -> list[tuple[float, float]]:
    return [slow_rates(scores, targets, threshold) for threshold in [-np.inf, *sorted(set(scores))]]


def slow_eer(scores: list[float], targets: list[int]) -> float:
    """Where the broken line of (miss, false alarm) points meets the diagonal, found by bisection on it."""
    points = slow_points(scores, targets)
    for (m0, a0), (m1, a1) in itertools.pairwise(points):
        if m0 <= a0 and m1 >= a1:
            low, high = 0.0, 1.0
            for _ in range(80):
                middle = (low + high) / 2
                ahead = m0 + middle * (m1 - m0) >= a0 + middle * (a1 - a0)
                low, high = (low, middle) if ahead else (middle, high)
            return m0 + high * (m1 - m0)
    raise AssertionError("the line never crosses")


TRIALS = st.lists(st.tuples(st.integers(-6, 6), st.booleans()), min_size=2, max_size=30).filter(
    lambda trials: len({target for _, target in trials}) == 2
)


@given(TRIALS)
def test_eer_and_min_dcf_equal_the_slow_versions(trials: list[tuple[int, bool]]) -> None:
    scores, targets = [s / 4 for s, _ in trials], [int(t) for _, t in trials]
    assert equal_error_rate(scores, targets) == pytest.approx(slow_eer(scores, targets), abs=1e-12)
    points = slow_points(scores, targets)
    for prior in (0.05, 0.5, 0.9):
        costs = [prior * miss + (1 - prior) * alarm for miss, alarm in points]
        wanted = min(costs) / min(prior, 1 - prior)
        assert min_detection_cost(scores, targets, prior) == pytest.approx(wanted, abs=1e-12)


def test_eer_of_known_trials() -> None:
    assert equal_error_rate([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0]) == 0
    assert equal_error_rate([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0]) == 1
    assert equal_error_rate([0.5] * 4, [1, 1, 0, 0]) == 0.5  # scores that say nothing
    assert EqualErrorRate().compute(predictions=[0.9, 0.3, 0.6, 0.1], references=[1, 1, 0, 0]) == {"eer": 0.5}
    generator = np.random.default_rng(0)
    scores = np.concatenate([generator.normal(1, 1, 40_000), generator.normal(-1, 1, 40_000)])
    # Two unit normals two apart: both errors are Phi(-1).
    assert equal_error_rate(scores, [1] * 40_000 + [0] * 40_000) == pytest.approx(0.158655, abs=3e-3)


def test_min_dcf_never_exceeds_the_trivial_system() -> None:
    result = MinDetectionCost().compute(predictions=[0.1, 0.9], references=[1, 0])
    assert result == {"min_dcf": 1.0}


@pytest.mark.parametrize(("scores", "targets"), [([1.0], [1]), ([1.0, np.nan], [1, 0]), ([1.0], [1, 0])])
def test_trials_without_an_eer_are_refused(scores: list[float], targets: list[int]) -> None:
    with pytest.raises(DataError, match="error_rates"):
        equal_error_rate(scores, targets)
