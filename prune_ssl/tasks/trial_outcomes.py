"""What a model did on each trial of a verification, for the equal error rate.

Letters: K trials, U units that a bootstrap draws (speakers, or first clips where no speakers are known).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from prune_ssl.data import Clip, Trial
from prune_ssl.errors import DataError
from prune_ssl.tasks.intervals import Indices, clusters_of, percentiles, resampled, widened
from prune_ssl.tasks.outcomes import checksum_of, packed, unpacked
from prune_ssl.tasks.verification_metrics import equal_error_rate

FEWEST = 3
"""The fewest speakers that are drawn. Of two, every draw of both gives the same trials."""
MOST_KEPT = 20_000
"""The most trials whose outcomes are kept: each takes about 15 bytes of a report."""
SCORES = "scores"
"""The key of the scores in the text form. It tells the outcomes of trials from those of clips."""


@dataclass(frozen=True)
class TrialOutcomes:
    """One model's score of each trial, with the units that a bootstrap draws. The metric is the EER.

    Where speakers are known they are drawn, and a trial counts as often as both of its speakers together (the
    product of the two counts): the bootstrap of two-way arrays (Owen, Annals of Applied Statistics 1, 2007).
    Else first clips are drawn with all their trials.

    Args:
        scores: The rank of each trial's score, (K,). Equal scores have equal ranks. The EER depends on ranks
            alone.
        same: 1 for one speaker, 0 for two, (K,).
        firsts: The unit of the first clip of each trial, (K,).
        seconds: That of the second clip, (K,). Empty: first clips are drawn.
        checksum: A checksum of the clips in their order.

    >>> TrialOutcomes((0, 1, 2, 3), (0, 1, 0, 1), (0, 0, 1, 2)).value
    0.5
    """

    resamples: ClassVar[int] = 1_000
    """The number of bootstrap draws. They are few, because each sorts all trials."""

    scores: tuple[int, ...]
    same: tuple[int, ...]
    firsts: tuple[int, ...]
    seconds: tuple[int, ...] = ()
    checksum: str = field(default="", kw_only=True)

    @property
    def metric(self) -> str:
        """The name of the metric."""
        return "eer"

    @property
    def by_speaker(self) -> bool:
        """Whether a bootstrap draws speakers. Else it draws first clips."""
        return bool(self.seconds)

    @property
    def judged(self) -> tuple[object, ...]:
        """What two models must share to be compared: metric, clips, trials and speakers."""
        return self.metric, self.checksum, len(self.scores), self.same, self.firsts, self.seconds

    @property
    def value(self) -> float:
        """The equal error rate of all trials."""
        return equal_error_rate(self.scores, self.same)

    @cached_property
    def units(self) -> int:
        """The number of units that a bootstrap draws."""
        return 1 + max(*self.firsts, *self.seconds)

    @cached_property
    def _arrays(self) -> tuple[Indices, ...]:
        every = (self.scores, self.same, self.firsts, self.seconds)
        return tuple(np.asarray(each, dtype=np.int64) for each in every)

    def drawn(self, units: Indices) -> float:
        """Return the EER of the trials of drawn units, which may repeat. NaN: one kind is missing."""
        scores, same, firsts, seconds = self._arrays
        counts = np.bincount(units, minlength=self.units)
        times = counts[firsts]
        if self.by_speaker:
            times = np.where(firsts == seconds, times, times * counts[seconds])
        chosen = np.repeat(np.arange(len(scores)), times)
        mixed = 0 < same[chosen].sum() < len(chosen)
        return equal_error_rate(scores[chosen], same[chosen]) if mixed else float("nan")

    def metrics(self) -> dict[str, float]:
        """Return the EER with its 95% bootstrap interval, and the number of speakers if they were drawn."""
        low, high = self.interval()
        found = {"eer": self.value, "eer_low": low, "eer_high": high}
        return found | ({"eer_speakers": float(self.units)} if self.by_speaker else {})

    def interval(
        self, confidence: float = 0.95, resamples: int | None = None, seed: int = 0
    ) -> tuple[float, float]:
        """Return the bootstrap interval of the EER, over speakers if they are known, or over first clips."""
        found = resampled(self.drawn, self.units, resamples or self.resamples, seed)
        if not self.by_speaker:
            return percentiles(found, confidence)
        low, high = widened(found, self.value, self.units, confidence)
        return max(low, 0.0), min(high, 1.0)

    def to_data(self) -> dict[str, str]:
        """Return the outcomes as short texts for JSON. `from_data` reads them."""
        return {
            "metric": self.metric,
            "checksum": self.checksum,
            SCORES: packed(self.scores),
            "same": packed(self.same),
            "firsts": packed(self.firsts),
            "seconds": packed(self.seconds),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, str]) -> TrialOutcomes:
        """Read what `to_data` returned.

        Raises:
            DataError: a text is missing or damaged.

        >>> found = TrialOutcomes((0, 11, 1), (0, 1, 1), (0, 0, 1), (1, 0, 1), checksum="1f")
        >>> TrialOutcomes.from_data(found.to_data()) == found
        True
        """
        try:
            names = (SCORES, "same", "firsts", "seconds")
            parts = [tuple(map(int, unpacked(data[name]))) for name in names]
            return cls(*parts, checksum=data["checksum"])
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(
                f"outcomes: can't read {sorted(data)}: {error}; run the evaluation again"
            ) from error


class ScoredTrials:
    """The trials of an evaluation, which make outcomes of scores.

    Args:
        clips: The clips, whose targets are their speakers, or "" if these are not known.
        trials: The pairs of these clips.
    """

    def __init__(self, clips: Sequence[Clip], trials: Sequence[Trial]) -> None:
        rows = {clip.path: index for index, clip in enumerate(clips)}
        self.pairs = np.asarray([(rows[trial.first], rows[trial.second]) for trial in trials])
        """The rows of the clips of each trial, (K, 2)."""
        self.same = tuple(int(trial.same) for trial in trials)
        self.checksum = checksum_of(clips)
        self._units = self._speakers(clips)

    def _speakers(self, clips: Sequence[Clip]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the units of first and second clips: speakers, or first clips and nothing."""
        clusters = clusters_of([clip.target for clip in clips])
        if clusters is not None:
            found, numbers = np.unique(clusters[self.pairs], return_inverse=True)
            if len(found) >= FEWEST:
                both = numbers.reshape(self.pairs.shape)
                return tuple(both[:, 0].tolist()), tuple(both[:, 1].tolist())
        _, numbers = np.unique(self.pairs[:, 0], return_inverse=True)
        return tuple(numbers.tolist()), ()

    def outcomes(self, scores: npt.NDArray[np.float64]) -> TrialOutcomes:
        """Return the outcomes of the scores (K,) of the trials."""
        _, ranks = np.unique(scores, return_inverse=True)
        return TrialOutcomes(tuple(ranks.tolist()), self.same, *self._units, checksum=self.checksum)
