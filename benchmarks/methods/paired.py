"""The metric of a row without some clips, and the paired difference of methods with its error."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from methods.results import Judged, Row
from prune_ssl.tasks.verification_metrics import equal_error_rate

Mask = npt.NDArray[np.bool_]
FORMULA = (
    "With d_s the difference of seed s on all clips and d_sk the same without speaker k, the square of the "
    "standard error is the jackknife variance over the K speakers, (K - 1)/K times the sum over k of (mean "
    "over s of d_sk, less its mean over k)^2, plus the variance over the S seeds, the sum over s of "
    "(d_s - mean d_s)^2 over S(S - 1), less that of their interaction, which both count: "
    "(K - 1)/(K S(S - 1)) times the sum over s and k of (d_sk - d_s, less its mean over s)^2; it is never "
    "less than either of the first two."
)


@dataclass(frozen=True)
class Difference:
    """By how much one method is better than another, 0 to 1, and the standard errors."""

    ahead: float
    error: float
    """Over speakers and seeds."""
    over_clips: float
    """Over clips alone, as if they were independent and the seeds were fixed."""
    seeds: tuple[int, ...]
    """Those that both methods have."""


def metric_of(judged: Judged, row: Row, kept: Mask | None = None) -> float:
    """Return the metric of a row on the clips of a mask (clips,), or on all."""
    return _metric(judged, row)(np.ones(len(judged.files), dtype=bool) if kept is None else kept)


def _metric(judged: Judged, row: Row) -> Callable[[Mask], float]:
    if judged.metric == "accuracy":
        hits = np.array([outcome == "1" for outcome in row.outcomes], dtype=float)
        return lambda kept: float(hits[kept].mean())
    found = np.asarray(row.outcomes, dtype=float)
    if judged.metric == "wer":
        words = np.asarray(judged.words)
        return lambda kept: float(found[kept].sum() / words[kept].sum())
    first, second, same = np.asarray(judged.trials).T

    def rate(kept: Mask) -> float:
        trials = kept[first] & kept[second]
        return equal_error_rate(found[trials], same[trials])

    return rate


def paired_difference(judged: Judged, ours: Mapping[int, Row], theirs: Mapping[int, Row]) -> Difference:
    """Return how far the rows `ours` are ahead of `theirs`, both by seed, on the same clips.

    Raises:
        ValueError: they have no seed in common.
    """
    seeds = tuple(sorted(ours.keys() & theirs.keys()))
    if not seeds:
        raise ValueError(f"{judged.study}: no seed that both methods have")
    sign = 1 if judged.metric == "accuracy" else -1
    pairs = [(_metric(judged, ours[seed]), _metric(judged, theirs[seed])) for seed in seeds]

    def differences(kept: Mask) -> list[float]:
        return [sign * (one(kept) - other(kept)) for one, other in pairs]

    whole = np.array(differences(np.ones(len(judged.files), dtype=bool)))
    by_speaker = _without_each(judged.speakers, differences)
    by_clip = _without_each(range(len(judged.files)), differences)
    variance = two_way_variance(whole, by_speaker)
    over_clips = jackknife_variance(by_clip.mean(axis=1))
    return Difference(float(whole.mean()), sqrt(variance), sqrt(over_clips), seeds)


def _without_each(
    clusters: Sequence[object], differences: Callable[[Mask], list[float]]
) -> npt.NDArray[np.float64]:
    """Return the differences (clusters, seeds) without the clips of each cluster."""
    of_clips = np.asarray(clusters)
    return np.array([differences(of_clips != each) for each in np.unique(of_clips)])


def jackknife_variance(left: npt.NDArray[np.float64]) -> float:
    """Return the variance of a statistic from its values (n,) without each of the n clusters.

    Of a mean of n numbers it is their variance over n.
    """
    return float((len(left) - 1) / len(left) * ((left - left.mean()) ** 2).sum())


def two_way_variance(whole: npt.NDArray[np.float64], without: npt.NDArray[np.float64]) -> float:
    """Return the variance of a mean over seeds whose speakers and seeds are both drawn at random.

    Args:
        whole: The statistic of each seed on all clips (S,).
        without: The same without each speaker (K, S).
    """
    speakers, seeds = without.shape
    over_speakers = jackknife_variance(without.mean(axis=1)) if speakers > 1 else 0.0
    if seeds == 1:
        return over_speakers
    over_seeds = float(((whole - whole.mean()) ** 2).sum() / (seeds * (seeds - 1)))
    changes = without - whole
    both = float(((changes - changes.mean(axis=1, keepdims=True)) ** 2).sum())
    both *= (speakers - 1) / (speakers * seeds * (seeds - 1))
    return float(max(over_speakers + over_seeds - both, over_speakers, over_seeds))
