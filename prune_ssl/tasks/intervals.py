"""Confidence intervals: the percentile bootstrap of any statistic of a test set, over clips or over speakers.

The method is that of Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 13. For error rates
that are a ratio of sums (WER), utterances are drawn instead of words, as in Bisani & Ney, ICASSP 2004.

The clips of a speaker are not independent: an interval over clips is too narrow for other speakers. Where the
speakers are known, they are drawn instead, each with all clips (the cluster bootstrap: Davison & Hinkley,
Bootstrap Methods and their Application, 1997, sec. 3.8; Field & Welsh, JRSS B 69, 2007). With few clusters
the ends of that interval are too near to the value, for two known reasons: the bootstrap's variance lacks the
factor G / (G - 1) for G clusters, and its quantiles are the normal ones instead of Student's (Hesterberg, The
American Statistician 69, 2015; Cameron & Miller, Journal of Human Resources 50, 2015). So the distance of
each end from the value is multiplied by `widening(G)`. Few clusters may also agree by chance, so an interval
over clusters is never narrower than the one over clips. A test simulates the coverage.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from prune_ssl.errors import DataError

Indices = npt.NDArray[np.int64]


def clusters_of(speakers: Sequence[Hashable | None]) -> Indices | None:
    """Return the number of each clip's speaker, (clips,), in the order of their first clips.

    A clip without a speaker (None or "") gets a number of its own.

    Returns:
        The numbers, or None if fewer than two speakers are named: then only clips can be drawn.

    >>> clusters_of(["ann", "bob", None, "ann"]), clusters_of(["ann", "ann"])
    (array([0, 1, 2, 0]), None)
    """
    if len(set(speakers) - {None, ""}) < 2:
        return None
    own = [("of clip", index) if speaker in (None, "") else speaker for index, speaker in enumerate(speakers)]
    numbers = {speaker: number for number, speaker in enumerate(dict.fromkeys(own))}
    return np.asarray([numbers[speaker] for speaker in own], dtype=np.int64)


@lru_cache
def widening(clusters: int, confidence: float = 0.95) -> float:
    """Return the factor by which the interval of so many clusters (at least 2) must be wider.

    It is sqrt(G / (G - 1)) times Student's over the normal quantile, with G - 1 degrees of freedom.

    >>> [round(widening(clusters), 2) for clusters in (2, 3, 10, 100)]
    [9.17, 2.69, 1.22, 1.02]
    """
    freedom = clusters - 1
    # Student's variable is sqrt(freedom) * tan(angle); the angle has the density cos(angle) ** (freedom - 1).
    angles = np.linspace(0, np.pi / 2, 100_001)
    density = np.cos(angles) ** (freedom - 1)
    below = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    student = np.sqrt(freedom) * np.tan(np.interp(confidence, below / below[-1], angles))
    normal = NormalDist().inv_cdf((1 + confidence) / 2)
    return float(np.sqrt(clusters / freedom) * student / normal)


def bootstrap(
    statistic: Callable[[Indices], float],
    examples: int,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
    clusters: npt.ArrayLike | None = None,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of any statistic.

    Args:
        statistic: Maps indices of examples, which may repeat, to a number. A resample for which it returns
            NaN is left out.
        examples: The number of examples.
        confidence: The confidence level, between 0 and 1.
        resamples: The number of resamples.
        seed: The same seed gives the same interval.
        clusters: The cluster of each example (examples,), such as its speaker. Whole clusters are drawn, the
            interval is wider by `widening`, and it holds the interval of drawn examples. None: examples are
            drawn.

    Returns:
        The lower and the upper end. With clusters they may lie beyond what the statistic can reach.

    Raises:
        DataError: there are no examples, the confidence lies outside (0, 1), or there is only one cluster.

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
    alone = percentiles(resampled(statistic, examples, resamples, seed), confidence)
    if clusters is None:
        return alone
    members = members_of(clusters, examples)
    found = resampled(
        lambda drawn: statistic(np.concatenate([members[cluster] for cluster in drawn])),
        len(members),
        resamples,
        seed,
    )
    low, high = widened(found, statistic(np.arange(examples)), len(members), confidence)
    return min(low, alone[0]), max(high, alone[1])


def members_of(clusters: npt.ArrayLike, examples: int) -> list[Indices]:
    """Return the indices of the examples of each cluster.

    Raises:
        DataError: there are not as many clusters as examples, or all examples are in one.
    """
    _, numbers = np.unique(np.asarray(clusters), return_inverse=True)
    if numbers.shape != (examples,) or numbers.max() < 1:
        raise DataError(
            f"bootstrap: found clusters of shape {numbers.shape} for {examples} examples, wanted one for "
            "each example, and at least two different ones"
        )
    order = np.argsort(numbers, kind="stable")
    return np.split(order, np.cumsum(np.bincount(numbers))[:-1])


def resampled(
    statistic: Callable[[Indices], float], units: int, resamples: int, seed: int
) -> npt.NDArray[np.float64]:
    """Return the statistic of each resample of the indices of so many units, (resamples,)."""
    generator = np.random.default_rng(seed)
    # One resample at a time, so that the memory stays at the size of the test set.
    return np.asarray([statistic(generator.integers(units, size=units)) for _ in range(resamples)])


def widened(
    found: npt.NDArray[np.float64], value: float, clusters: int, confidence: float
) -> tuple[float, float]:
    """Return the interval around a value from its resamples over so many clusters, wider by `widening`."""
    factor = widening(clusters, confidence)
    low, high = percentiles(found, confidence)
    return value + factor * min(low - value, 0.0), value + factor * max(high - value, 0.0)


def percentiles(found: npt.NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Return the percentile interval of resamples. Those that are NaN are left out."""
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(found, [tail, 1 - tail])
    return float(low), float(high)


def bootstrap_interval(
    values: npt.ArrayLike,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
    clusters: npt.ArrayLike | None = None,
) -> tuple[float, float]:
    """Return the bootstrap interval of a mean.

    Args:
        values: One value per example, (examples,). For an accuracy it is 1 for a right clip and 0 for a wrong
            one. For the difference of two models on the same clips it is the difference of these.
        confidence: As in `bootstrap`.
        resamples: As in `bootstrap`.
        seed: As in `bootstrap`.
        clusters: As in `bootstrap`. The ends stay between the least and the greatest value.

    Raises:
        DataError: there are no values, or as in `bootstrap`.

    >>> low, high = bootstrap_interval([1, 1, 1, 0])
    >>> 0 <= low < 0.75 < high <= 1
    True
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise DataError(
            f"bootstrap_interval: found values of shape {array.shape}, wanted a non-empty list of numbers"
        )
    if clusters is not None:
        return bootstrap_ratio(array, np.ones_like(array), confidence, resamples, seed, clusters)
    return bootstrap(lambda drawn: float(array[drawn].mean()), array.size, confidence, resamples, seed)


def bootstrap_ratio(
    numerators: npt.ArrayLike,
    denominators: npt.ArrayLike,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
    clusters: npt.ArrayLike | None = None,
) -> tuple[float, float]:
    """Return the bootstrap interval of sum(numerators) / sum(denominators), such as a word error rate.

    Args:
        numerators: One number per example, (examples,), such as the errors of each clip.
        denominators: One number per example, (examples,), such as the words of each clip.
        confidence: As in `bootstrap`.
        resamples: As in `bootstrap`.
        seed: As in `bootstrap`.
        clusters: As in `bootstrap`. The ends stay between the least and the greatest ratio of one example.

    Raises:
        DataError: there are no examples, the counts differ, the denominators are negative or all zero, or as
            in `bootstrap`.

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

    low, high = bootstrap(ratio, above.size, confidence, resamples, seed, clusters)
    if clusters is None:
        return low, high
    each = above[below > 0] / below[below > 0]
    return max(low, float(each.min())), min(high, float(each.max()))
