"""Confidence intervals: the percentile bootstrap of any statistic of a test set.

The method is that of Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 13. For error rates
that are a ratio of sums (WER), utterances are drawn instead of words, as in Bisani & Ney, ICASSP 2004.
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
    """Return the percentile bootstrap interval of any statistic.

    Args:
        statistic: Maps indices of examples (examples,), which may repeat, to a number. A resample for which
            it returns NaN is left out.
        examples: The number of examples.
        confidence: The confidence level, between 0 and 1.
        resamples: The number of resamples.
        seed: The same seed gives the same interval.

    Returns:
        The lower and the upper end.

    Raises:
        DataError: there are no examples, or the confidence lies outside (0, 1).

    >>> values = np.array([0.0, 1.0, 1.0, 1.0])
    >>> low, high = bootstrap(lambda drawn: float(values[drawn].mean()), 4)
    >>> low < 0.75 < high
    True
    """
    if examples < 1:
        raise DataError(f"bootstrap: {examples} examples given, at least one wanted")
    if not 0 < confidence < 1:
        raise DataError(
            f"bootstrap: found the confidence {confidence}, wanted a number between 0 and 1 (0.95, not 95)"
        )
    generator = np.random.default_rng(seed)
    # One resample at a time, so that the memory stays at the size of the test set.
    found = [statistic(generator.integers(examples, size=examples)) for _ in range(resamples)]
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(found, [tail, 1 - tail])
    return float(low), float(high)


def bootstrap_interval(
    values: npt.ArrayLike, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> tuple[float, float]:
    """Return the bootstrap interval of a mean.

    Args:
        values: One value per example, (examples,). For an accuracy it is 1 for a right clip and 0 for a wrong
            one. For the difference of two models on the same clips it is the difference of these.
        confidence: As in `bootstrap`.
        resamples: As in `bootstrap`.
        seed: As in `bootstrap`.

    Raises:
        DataError: there are no values, or the confidence lies outside (0, 1).

    >>> low, high = bootstrap_interval([1, 1, 1, 0])
    >>> 0 <= low < 0.75 < high <= 1
    True
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise DataError(
            f"bootstrap_interval: found values of shape {array.shape}, wanted a non-empty list of numbers"
        )
    return bootstrap(lambda drawn: float(array[drawn].mean()), array.size, confidence, resamples, seed)


def bootstrap_ratio(
    numerators: npt.ArrayLike,
    denominators: npt.ArrayLike,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the bootstrap interval of sum(numerators) / sum(denominators), such as a word error rate.

    Args:
        numerators: One number per example, (examples,), such as the errors of each clip.
        denominators: One number per example, (examples,), such as the words of each clip.
        confidence: As in `bootstrap`.
        resamples: As in `bootstrap`.
        seed: As in `bootstrap`.

    Raises:
        DataError: there are no examples, the counts differ, or the denominators are negative or all zero.

    >>> low, high = bootstrap_ratio([0, 1, 2], [4, 5, 6])
    >>> low <= 3 / 15 <= high
    True
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
