"""Owns confidence intervals: the percentile bootstrap of any statistic of a test set.

Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 13; for error rates that are a ratio of sums
(WER), Bisani & Ney, ICASSP 2004: utterances are drawn, not words.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from prune_ssl.errors import DataError

Indices = npt.NDArray[np.int64]


def bootstrap(
    statistic: Callable[[Indices], float],
    examples: int,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of any statistic.

    Args:
        statistic: The statistic of the examples with these indices, which repeat: (examples,) -> number; NaN
            where it has none (such a resample is left out).
        examples: How many there are.
        confidence: Mass inside the interval, between 0 and 1.
        resamples: How often the examples are drawn again.
        seed: The same seed gives the same interval.

    Returns:
        The lower and the upper end.

    Raises:
        DataError: no examples, or a confidence outside (0, 1).
    """
    if examples < 1:
        raise DataError(f"bootstrap: {examples} examples given, at least one wanted")
    if not 0 < confidence < 1:
        raise DataError(
            f"bootstrap: confidence is {confidence}, a number between 0 and 1 wanted (0.95, not 95)"
        )
    generator = np.random.default_rng(seed)
    # One resample at a time: memory stays at the size of the test set.
    found = [statistic(generator.integers(examples, size=examples)) for _ in range(resamples)]
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(found, [tail, 1 - tail])
    return float(low), float(high)


def bootstrap_interval(
    values: npt.ArrayLike, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> tuple[float, float]:
    """Interval of a mean.

    For an accuracy, `values` (examples,) are 1 where a clip is right and 0 where it is wrong; for the
    difference of two models on the same clips, the differences of these. The rest is as in `bootstrap`.

    Raises:
        DataError: no values, or a confidence outside (0, 1).
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise DataError(
            f"bootstrap_interval: values of shape {array.shape} given, a non-empty list of numbers wanted"
        )
    return bootstrap(lambda drawn: float(array[drawn].mean()), array.size, confidence, resamples, seed)


def bootstrap_ratio(
    numerators: npt.ArrayLike,
    denominators: npt.ArrayLike,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of sum(numerators) / sum(denominators), both (examples,): errors and words of each clip.

    Raises:
        DataError: no examples, unequal counts, negative denominators or all zero.
    """
    above = np.asarray(numerators, dtype=np.float64)
    below = np.asarray(denominators, dtype=np.float64)
    if (
        above.ndim != 1
        or above.shape != below.shape
        or above.size == 0
        or not 0 <= below.min() <= below.max() > 0
    ):
        raise DataError(
            f"bootstrap_ratio: {above.shape} numerators and {below.shape} denominators given, two non-empty "
            "lists of equal length wanted, the second not negative and not all zero"
        )

    def ratio(drawn: Indices) -> float:
        whole = float(below[drawn].sum())
        return float(above[drawn].sum()) / whole if whole else float("nan")

    return bootstrap(ratio, above.size, confidence, resamples, seed)
