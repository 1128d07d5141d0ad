"""The difference of two models on the same clips, and the judge that keeps what each did there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from transformers import EvalPrediction

from prune_ssl.errors import DataError
from prune_ssl.tasks.intervals import Indices, percentiles, resampled, widened
from prune_ssl.tasks.outcomes import Outcomes
from prune_ssl.tasks.trial_outcomes import SCORES, TrialOutcomes

AnyOutcomes = Outcomes | TrialOutcomes
Measure = Callable[[EvalPrediction], tuple[dict[str, float], AnyOutcomes | None]]


def outcomes_from_data(data: Mapping[str, str]) -> AnyOutcomes:
    """Read what `to_data` of either kind returned.

    Raises:
        DataError: a text is missing or damaged.

    >>> outcomes_from_data(Outcomes("accuracy", (1, 0)).to_data()).value
    0.5
    """
    return TrialOutcomes.from_data(data) if SCORES in data else Outcomes.from_data(data)


class ClipJudge:
    """A `compute_metrics` that also keeps the outcomes on each clip of its last evaluation.

    Args:
        measure: Returns the metrics of a prediction, and the outcomes of the main metric. None: they are too
            many to keep.
    """

    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        self.outcomes: AnyOutcomes | None = None

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
    """The standard error over the units that were drawn. By speaker it is at least that over clips."""
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
    first: AnyOutcomes | Sequence[AnyOutcomes],
    second: AnyOutcomes | Sequence[AnyOutcomes],
    confidence: float = 0.95,
    resamples: int | None = None,
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
        resamples: The number of resamples. None: 2,000 for clips, 1,000 for trials.
        seed: The same seed gives the same interval.

    Raises:
        DataError: the outcomes are not of the same metric on the same clips, or there are none.

    >>> found = paired_difference(Outcomes("accuracy", (1, 1, 0, 1)), Outcomes("accuracy", (1, 0, 0, 1)))
    >>> found.difference, found.low, found.high, found.drawn
    (-0.25, -0.75, 0.0, 'by clip')
    """
    one, other = ([each] if isinstance(each, AnyOutcomes) else list(each) for each in (first, second))
    _require_comparable(one, other)
    judged = one[0]
    spread, value, found = _drawn_differences(one, other, resamples, seed)
    low, high = percentiles(found, confidence)
    if judged.by_speaker:
        low, high = widened(found, value, judged.units, confidence)
    if isinstance(judged, Outcomes) and judged.by_speaker:  # few speakers may agree by chance
        alone = [[each.by_clip() for each in models if isinstance(each, Outcomes)] for models in (one, other)]
        clip_spread, _, found = _drawn_differences(alone[0], alone[1], resamples, seed)
        ends = percentiles(found, confidence)
        low, high, spread = min(low, ends[0]), max(high, ends[1]), max(spread, clip_spread)
    return PairedDifference(judged.metric, value, low, high, spread, judged.units, judged.by_speaker)


def _drawn_differences(
    first: Sequence[AnyOutcomes], second: Sequence[AnyOutcomes], resamples: int | None, seed: int
) -> tuple[float, float, npt.NDArray[np.float64]]:
    """Return the standard error of a difference over the drawn units, its value, and its resamples."""
    units = first[0].units

    def change(drawn: Indices) -> float:
        after, before = (np.mean([each.drawn(drawn) for each in models]) for models in (second, first))
        return float(after - before)

    found = resampled(change, units, resamples or first[0].resamples, seed)
    # The variance of a bootstrap lacks this factor.
    spread = float(np.nanstd(found) * np.sqrt(units / max(units - 1, 1)))
    return spread, change(np.arange(units)), found


def _require_comparable(first: Sequence[AnyOutcomes], second: Sequence[AnyOutcomes]) -> None:
    """Refuse outcomes of different metrics, clips or speakers, and none at all.

    Raises:
        DataError: they are refused.
    """
    if not first or not second or any(each.judged != first[0].judged for each in (*first, *second)):
        kinds = sorted({f"{each.metric} on {each.judged[2]} clips or trials" for each in (*first, *second)})
        raise DataError(
            f"paired_difference: found {' and '.join(kinds) or 'no outcomes'}, wanted outcomes of two "
            "models, of one metric on the same clips in the same order"
        )
