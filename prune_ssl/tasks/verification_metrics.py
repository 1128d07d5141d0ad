"""The metrics of verification: error rates over thresholds, EER and minDCF of scored trials.

Letters: K trials.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from prune_ssl.errors import DataError

TARGET_PRIOR = 0.05
"""The share of target trials that minDCF assumes (VoxCeleb Speaker Recognition Challenge)."""

Rates = npt.NDArray[np.float64]


def error_rates(scores: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[Rates, Rates]:
    """Return the miss rate and the false alarm rate at every threshold, from the lowest to the highest.

    Args:
        scores: A higher score means more similar, (K,).
        targets: 1 or True if both clips have the same speaker, (K,).

    Returns:
        Misses over targets and false alarms over impostors, both (thresholds,). The first threshold is below
        all scores, and one more lies above each distinct score.

    Raises:
        DataError: the counts differ, a score is not finite, or one of the two kinds of trials is missing.

    >>> error_rates([0.1, 0.9], [0, 1])
    (array([0., 0., 1.]), array([1., 0., 0.]))
    """
    values, same = np.asarray(scores, dtype=np.float64), np.asarray(targets).astype(bool)
    if values.ndim != 1 or values.shape != same.shape or not np.isfinite(values).all():
        raise DataError(
            f"error_rates: scores {values.shape} and targets {same.shape} given, two lists of equal length "
            "and finite scores wanted"
        )
    wanted, others = int(same.sum()), int((~same).sum())
    if not wanted or not others:
        raise DataError(
            f"error_rates: {wanted} target and {others} impostor trials given, at least one of each wanted"
        )
    order = np.argsort(values, kind="stable")
    values, same = values[order], same[order]
    # Trials with equal scores are on the same side of every threshold.
    last_of_its_score = np.append(values[1:] != values[:-1], True)
    missed = np.cumsum(same)[last_of_its_score] / wanted
    accepted = 1 - np.cumsum(~same)[last_of_its_score] / others
    return np.append(0.0, missed), np.append(1.0, accepted)


def equal_error_rate(scores: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return the rate at which misses equal false alarms, interpolated between the two nearest thresholds.

    Raises:
        DataError: as in `error_rates`.

    >>> equal_error_rate([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1])
    0.5
    """
    misses, alarms = error_rates(scores, targets)
    # Misses rise and false alarms fall. A point past the crossing exists, because the last one is (1, 0).
    after = int(np.argmax(misses >= alarms))
    gap_before, gap_after = alarms[after - 1] - misses[after - 1], misses[after] - alarms[after]
    part = gap_before / (gap_before + gap_after)
    return float(misses[after - 1] + part * (misses[after] - misses[after - 1]))


def min_detection_cost(
    scores: npt.ArrayLike, targets: npt.ArrayLike, target_prior: float = TARGET_PRIOR
) -> float:
    """Return the smallest detection cost over all thresholds, normalised as in NIST SRE.

    The cost is prior * miss + (1 - prior) * false alarm, divided by min(prior, 1 - prior), which is the cost
    of the better trivial system.

    Raises:
        DataError: the prior lies outside (0, 1), or as in `error_rates`.

    >>> min_detection_cost([0.1, 0.9], [0, 1])
    0.0
    """
    if not 0 < target_prior < 1:
        raise DataError(f"min_detection_cost: target_prior is {target_prior}, wanted between 0 and 1")
    misses, alarms = error_rates(scores, targets)
    costs = target_prior * misses + (1 - target_prior) * alarms
    return float(costs.min() / min(target_prior, 1 - target_prior))
