"""What a model did on each clip of an evaluation, for a metric that is a ratio of sums over clips.

Letters: B clips, U units that a bootstrap draws (speakers, or clips where no speakers are known).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from prune_ssl.data import Clip
from prune_ssl.errors import DataError
from prune_ssl.tasks.intervals import Indices, bootstrap_ratio, clusters_of

Numbers = tuple[float, ...]


@dataclass(frozen=True)
class Outcomes:
    """One model's outcome on each clip of an evaluation. The metric is sum(numerators) / sum(denominators).

    Args:
        metric: The name of the metric.
        numerators: One number per clip, (B,): 1 for a right clip and 0 for a wrong one, or its errors.
        denominators: One number per clip, (B,), such as its words. Empty: 1 for each clip.
        speakers: The number of the speaker of each clip, (B,). Empty: fewer than two speakers are known.
        checksum: A checksum of the clips in their order. Only outcomes on the same clips can be compared.

    Raises:
        DataError: there are no clips, the lengths differ, or the denominators are negative or all zero.

    >>> Outcomes("accuracy", (1, 0, 1, 1)).value
    0.75
    """

    resamples: ClassVar[int] = 2_000
    """The number of bootstrap draws of an interval."""

    metric: str
    numerators: Numbers
    denominators: Numbers = ()
    speakers: tuple[int, ...] = ()
    checksum: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        clips, below = len(self.numerators), self.denominators
        if not clips or any(len(each) not in (0, clips) for each in (below, self.speakers)):
            raise DataError(
                f"Outcomes: found {clips} numerators, {len(below)} denominators and {len(self.speakers)} "
                "speakers, wanted equally many, and at least one"
            )
        if below and not 0 <= min(below) <= max(below) > 0:
            raise DataError("Outcomes: the denominators are negative or all zero, so no ratio is defined")

    @classmethod
    def on(
        cls,
        clips: Sequence[Clip],
        metric: str,
        numerators: npt.ArrayLike,
        denominators: npt.ArrayLike | None = None,
    ) -> Outcomes:
        """Make the outcomes of these clips, with their speakers if the corpus names at least two.

        Raises:
            DataError: as for the class.
        """
        clusters = clusters_of([clip.speaker for clip in clips])
        return cls(
            metric,
            plain_numbers(numerators),
            () if denominators is None else plain_numbers(denominators),
            () if clusters is None else tuple(clusters.tolist()),
            checksum=checksum_of(clips),
        )

    @property
    def value(self) -> float:
        """The metric on all clips."""
        return self.drawn(np.arange(self.units))

    @property
    def by_speaker(self) -> bool:
        """Whether a bootstrap draws speakers. Else it draws clips."""
        return bool(self.speakers)

    @property
    def judged(self) -> tuple[object, ...]:
        """What two models must share to be compared: metric, clips and speakers."""
        return self.metric, self.checksum, len(self.numerators), self.speakers

    def by_clip(self) -> Outcomes:
        """Return the same outcomes without speakers, so that a bootstrap draws clips."""
        return replace(self, speakers=())

    @cached_property
    def units(self) -> int:
        """The number of units that a bootstrap draws: the speakers, or the clips where none are known."""
        return len(self._sums[0])

    @cached_property
    def _sums(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The sums of numerators and denominators of each unit, both (U,)."""
        above = np.asarray(self.numerators, dtype=np.float64)
        below = np.asarray(self.denominators, dtype=np.float64) if self.denominators else np.ones_like(above)
        if not self.speakers:
            return above, below
        clusters = np.asarray(self.speakers)
        totals = (np.bincount(clusters, weights=each).astype(np.float64) for each in (above, below))
        return next(totals), next(totals)

    def drawn(self, units: Indices) -> float:
        """Return the metric on the clips of drawn units, which may repeat. NaN: it is not defined there."""
        above, below = self._sums
        whole = float(below[units].sum())
        return float(above[units].sum()) / whole if whole else float("nan")

    def metrics(self, suffix: str = "") -> dict[str, float]:
        """Return the metric with its 95% bootstrap interval, and the number of speakers if they were drawn.

        >>> Outcomes("wer", (0, 1), (4, 4)).metrics("_lm")
        {'wer_lm': 0.125, 'wer_lm_low': 0.0, 'wer_lm_high': 0.25}
        """
        name, (low, high) = f"{self.metric}{suffix}", self.interval()
        found = {name: self.value, f"{name}_low": low, f"{name}_high": high}
        return found | ({f"{name}_speakers": float(self.units)} if self.speakers else {})

    def interval(
        self, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
    ) -> tuple[float, float]:
        """Return the bootstrap interval of the metric, over speakers if they are known, else over clips."""
        below = self.denominators or np.ones(len(self.numerators))
        return bootstrap_ratio(self.numerators, below, confidence, resamples, seed, self.speakers or None)

    def to_data(self) -> dict[str, str]:
        """Return the outcomes as short texts for JSON. `from_data` reads them.

        >>> Outcomes("wer", (0, 2, 11), (4, 6, 15)).to_data()["numerators"]
        '0 2 11'
        """
        return {
            "metric": self.metric,
            "checksum": self.checksum,
            "numerators": packed(self.numerators),
            "denominators": packed(self.denominators),
            "speakers": packed(self.speakers),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, str]) -> Outcomes:
        """Read what `to_data` returned.

        Raises:
            DataError: a text is missing or damaged.

        >>> found = Outcomes("accuracy", (1, 0, 1), speakers=(0, 0, 1), checksum="1f")
        >>> Outcomes.from_data(found.to_data()) == found
        True
        """
        try:
            return cls(
                data["metric"],
                unpacked(data["numerators"]),
                unpacked(data["denominators"]),
                tuple(map(int, unpacked(data["speakers"]))),
                checksum=data["checksum"],
            )
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(
                f"outcomes: can't read {sorted(data)}: {error}; run the evaluation again"
            ) from error


def checksum_of(clips: Iterable[Clip]) -> str:
    """Return a checksum of names, targets and speakers of the clips in their order."""
    lines = [f"{clip.path.parent.name}/{clip.path.name}\t{clip.target}\t{clip.speaker}" for clip in clips]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def plain_numbers(values: npt.ArrayLike) -> Numbers:
    """Return numbers of Python, whole ones as int."""
    array = np.asarray(values, dtype=np.float64)
    return tuple(int(each) if each.is_integer() else each for each in array.tolist())


def packed(values: Iterable[float]) -> str:
    """Return digits without spaces if each number is one digit, else numbers with spaces."""
    words = [str(each) for each in values]
    if all(len(word) == 1 for word in words):
        return "".join(words)
    return " ".join(words) + " " * (len(words) == 1)


def unpacked(text: str) -> Numbers:
    """Return the numbers that `packed` wrote."""
    words = text.split() if " " in text else list(text)
    return plain_numbers([float(word) for word in words])
