"""SUPERB's two scores over its ten tasks (Yang et al., SUPERB, Interspeech 2021; Feng et al., 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prune_ssl.errors import DataError


@dataclass(frozen=True)
class Measure:
    """One of the eleven numbers of a SUPERB row."""

    task: str
    """The task. SF has two numbers, the other tasks have one."""
    words: str
    """The task and the metric in words."""
    baseline: float
    """The value of the log-mel filterbank (FBANK), which the SUPERB score takes as 0."""
    best: float
    """The state of the art, which the SUPERB score takes as 1."""
    error: bool = False
    """Whether it is an error rate in percent, so that lower is better."""
    percent: bool = True
    """Whether it is in percent. Only QbE's value is a fraction."""


MEASURES: dict[str, Measure] = {
    "ks": Measure("ks", "keyword spotting, accuracy", 41.38, 96.66),
    "ic": Measure("ic", "intent classification, accuracy", 9.65, 98.76),
    "pr": Measure("pr", "phoneme recognition, PER", 82.01, 3.53, error=True),
    "asr": Measure("asr", "speech recognition, WER without a language model", 23.18, 3.62, error=True),
    "er": Measure("er", "emotion recognition, accuracy", 48.24, 67.62),
    "qbe": Measure("qbe", "query by example, MTWV", 0.0058, 0.0736, percent=False),
    "sf_f1": Measure("sf", "slot filling, slot type F1", 69.64, 89.81),
    "sf_cer": Measure("sf", "slot filling, slot value CER", 52.94, 21.76, error=True),
    "sid": Measure("sid", "speaker identification, accuracy", 20.06, 90.33),
    "asv": Measure("asv", "speaker verification, EER", 9.56, 5.11, error=True),
    "sd": Measure("sd", "speaker diarization, DER", 10.05, 5.62, error=True),
}
"""The measures, with the FBANK row and the best values that reproduce the published scores (see the tests).
Some papers print another FBANK row, which gives other scores with the same formula."""


def overall_score(results: Mapping[str, float]) -> float:
    """Return the mean of the eleven numbers, where an error rate counts as 100 - rate and QbE's as percent.

    Raises:
        DataError: a number is missing or unknown.

    >>> round(overall_score({name: measure.best for name, measure in MEASURES.items()}), 2)
    82.81
    """
    return sum(_merit(measure, results[name]) for name, measure in _checked(results).items()) / len(MEASURES)


def superb_score(results: Mapping[str, float]) -> float:
    """Return the SUPERB score: 1000 times the mean over the ten tasks of the position of a model's value.

    The position is 0 at FBANK's value and 1 at the best value. SF counts as the mean of its two numbers.

    Raises:
        DataError: a number is missing or unknown.

    >>> superb_score({name: measure.baseline for name, measure in MEASURES.items()})
    0.0
    """
    positions: dict[str, list[float]] = {}
    for name, measure in _checked(results).items():
        position = (results[name] - measure.baseline) / (measure.best - measure.baseline)
        positions.setdefault(measure.task, []).append(position)
    return 1000 * sum(sum(each) / len(each) for each in positions.values()) / len(positions)


def _merit(measure: Measure, value: float) -> float:
    if measure.error:
        return 100 - value
    return value if measure.percent else 100 * value


def _checked(results: Mapping[str, float]) -> dict[str, Measure]:
    missing, unknown = sorted(MEASURES.keys() - results), sorted(results.keys() - MEASURES.keys())
    if missing or unknown:
        raise DataError(
            f"SUPERB scores need the numbers {', '.join(MEASURES)}; missing: {', '.join(missing) or '-'}; "
            f"unknown: {', '.join(unknown) or '-'}. A score over fewer tasks cannot be compared."
        )
    return MEASURES
