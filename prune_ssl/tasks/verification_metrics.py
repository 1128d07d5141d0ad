"""Owns the arithmetic of verification: error rates over thresholds, EER and minDCF of scored trials.

Letters: K trials.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from prune_ssl.errors import DataError

TARGET_PRIOR = 0.05
"""Share of target trials that minDCF assumes, as the VoxCeleb Speaker Recognition Challenge sets it."""

Rates = npt.NDArray[np.float64]


def error_rates(scores: npt.ArrayLike, targets: npt.ArrayLike) -> tuple[Rates, Rates]:
    """Miss and false alarm rate at every threshold, from one that accepts all to one that accepts none.

    Args:
        scores: Higher means more alike, (K,).
        targets: 1 or True where both sides are one speaker, (K,).

    Returns:
        Misses over targets and false alarms over impostors, both (thresholds,): one threshold below all
        scores, then one above each distinct score.

    Raises:
        DataError: unequal counts, scores that are not finite, or no trial of one of the two kinds.
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
    # Trials with one score fall on the same side of every threshold.
    last_of_its_score = np.append(values[1:] != values[:-1], True)
    missed = np.cumsum(same)[last_of_its_score] / wanted
    accepted = 1 - np.cumsum(~same)[last_of_its_score] / others
    return np.append(0.0, missed), np.append(1.0, accepted)


def equal_error_rate(scores: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """The rate at which misses and false alarms are equal, on a line between the two nearest thresholds.

    Raises:
        DataError: see `error_rates`.
    """
    misses, alarms = error_rates(scores, targets)
    # Misses rise and false alarms fall; the first point past the crossing exists: the last is (1, 0).
    after = int(np.argmax(misses >= alarms))
    gap_before, gap_after = alarms[after - 1] - misses[after - 1], misses[after] - alarms[after]
    part = gap_before / (gap_before + gap_after)
    return float(misses[after - 1] + part * (misses[after] - misses[after - 1]))


def min_detection_cost(
    scores: npt.ArrayLike, targets: npt.ArrayLike, target_prior: float = TARGET_PRIOR
) -> float:
    """The least detection cost over all thresholds, over that of the better trivial system.

    C = prior * miss + (1 - prior) * false alarm, both costs 1, divided by min(prior, 1 - prior) (NIST SRE).

    Raises:
        DataError: a prior outside (0, 1); see `error_rates` for the rest.
    """
    if not 0 < target_prior < 1:
        raise DataError(f"min_detection_cost: target_prior is {target_prior}, wanted between 0 and 1")
    misses, alarms = error_rates(scores, targets)
    costs = target_prior * misses + (1 - target_prior) * alarms
    return float(costs.min() / min(target_prior, 1 - target_prior))
