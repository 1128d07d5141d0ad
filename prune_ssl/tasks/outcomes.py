"""What a model did on each clip of an evaluation, and the difference of two models on the same clips.

Letters: B clips, U units that a bootstrap draws (speakers, or clips where no speakers are known).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from transformers import EvalPrediction

from prune_ssl.data import Clip
from prune_ssl.errors import DataError
from prune_ssl.tasks.intervals import Indices, bootstrap_ratio, clusters_of, percentiles, resampled, widened

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
            _plain(numerators),
            () if denominators is None else _plain(denominators),
            () if clusters is None else tuple(clusters.tolist()),
            checksum=checksum_of(clips),
        )

    @property
    def value(self) -> float:
        """The metric on all clips."""
        return self.drawn(np.arange(self.units))

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
            "numerators": _packed(self.numerators),
            "denominators": _packed(self.denominators),
            "speakers": _packed(self.speakers),
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
                _unpacked(data["numerators"]),
                _unpacked(data["denominators"]),
                tuple(map(int, _unpacked(data["speakers"]))),
                checksum=data["checksum"],
            )
        except (KeyError, ValueError, TypeError) as error:
            raise DataError(
                f"outcomes: can't read {sorted(data)}: {error}; run the evaluation again"
            ) from error


class ClipJudge:
    """A `compute_metrics` that also keeps the outcomes on each clip of its last evaluation.

    Args:
        measure: Returns the metrics of a prediction, and the outcomes of the main metric.
    """

    def __init__(self, measure: Callable[[EvalPrediction], tuple[dict[str, float], Outcomes]]) -> None:
        self.measure = measure
        self.outcomes: Outcomes | None = None

    def __call__(self, prediction: EvalPrediction) -> dict[str, float]:
        """Return the metrics, and keep the outcomes."""
        metrics, self.outcomes = self.measure(prediction)
        return metrics


@dataclass(frozen=True)
class PairedDifference:
    """The difference of a metric between two models on the same clips."""

    metric: str
    difference: float
    """The second model's metric minus the first one's, the mean over seeds."""
    low: float
    """The lower end of the interval."""
    high: float
    """The upper end of the interval."""
    standard_error: float
    """The standard error over the units that were drawn."""
    units: int
    """The number of drawn units."""
    by_speaker: bool
    """Whether speakers were drawn. Else clips were drawn."""

    @property
    def drawn(self) -> str:
        """How the interval was drawn, such as `by speaker, 3 speakers`."""
        return drawn_by(self.units if self.by_speaker else None)


def drawn_by(speakers: float | None) -> str:
    """Return how an interval was drawn, in words.

    >>> drawn_by(3.0), drawn_by(None)
    ('by speaker, 3 speakers', 'by clip')
    """
    return "by clip" if speakers is None else f"by speaker, {speakers:g} speakers"


def paired_difference(
    first: Outcomes | Sequence[Outcomes],
    second: Outcomes | Sequence[Outcomes],
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> PairedDifference:
    """Return how much the metric of the second model differs from that of the first on the same clips.

    Both models are judged on the same draws of a bootstrap over speakers (over clips where no speakers are
    known), so that what is hard for both does not count as noise. With several seeds, the metric is the mean
    over them on the same clips. The interval then holds for these seeds: it is not one over seeds.

    Args:
        first: The outcomes of one model, or of its seeds.
        second: The outcomes of the other, or of its seeds.
        confidence: The confidence level, between 0 and 1.
        resamples: The number of resamples.
        seed: The same seed gives the same interval.

    Raises:
        DataError: the outcomes are not of the same metric on the same clips, or there are none.

    >>> found = paired_difference(Outcomes("accuracy", (1, 1, 0, 1)), Outcomes("accuracy", (1, 0, 0, 1)))
    >>> found.difference, found.low, found.high, found.drawn
    (-0.25, -0.75, 0.0, 'by clip')
    """
    one, other = ([each] if isinstance(each, Outcomes) else list(each) for each in (first, second))
    _require_comparable(one, other)
    clips = one[0]

    def change(drawn: Indices) -> float:
        after, before = (np.mean([each.drawn(drawn) for each in models]) for models in (other, one))
        return float(after - before)

    value, found = change(np.arange(clips.units)), resampled(change, clips.units, resamples, seed)
    by_speaker = bool(clips.speakers)
    low, high = (
        widened(found, value, clips.units, confidence) if by_speaker else percentiles(found, confidence)
    )
    spread = float(np.nanstd(found)) * np.sqrt(clips.units / max(clips.units - 1, 1))
    return PairedDifference(clips.metric, value, low, high, float(spread), clips.units, by_speaker)


def _require_comparable(first: Sequence[Outcomes], second: Sequence[Outcomes]) -> None:
    """Refuse outcomes of different metrics, clips or speakers, and none at all.

    Raises:
        DataError: they are refused.
    """
    judged = [(each.metric, each.checksum, len(each.numerators), each.speakers) for each in (*first, *second)]
    if not first or not second or any(each != judged[0] for each in judged):
        kinds = sorted({f"{metric} on {clips} clips" for metric, _, clips, _ in judged})
        raise DataError(
            f"paired_difference: found {' and '.join(kinds) or 'no outcomes'}, wanted outcomes of two "
            "models, of one metric on the same clips in the same order"
        )


def checksum_of(clips: Iterable[Clip]) -> str:
    """Return a checksum of names, targets and speakers of the clips in their order."""
    lines = [f"{clip.path.parent.name}/{clip.path.name}\t{clip.target}\t{clip.speaker}" for clip in clips]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _plain(values: npt.ArrayLike) -> Numbers:
    """Return numbers of Python, whole ones as int."""
    array = np.asarray(values, dtype=np.float64)
    return tuple(int(each) if each.is_integer() else each for each in array.tolist())


def _packed(values: Iterable[float]) -> str:
    """Return digits without spaces if each number is one digit, else numbers with spaces."""
    words = [str(each) for each in values]
    if all(len(word) == 1 for word in words):
        return "".join(words)
    return " ".join(words) + " " * (len(words) == 1)


def _unpacked(text: str) -> Numbers:
    words = text.split() if " " in text else list(text)
    return _plain([float(word) for word in words])
