"""Task metrics as `evaluate.Metric` subclasses that work offline, computed by jiwer and numpy.

`evaluate.load("wer")` fetches a script from the hub. A subclass of `evaluate.Metric` needs no network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import datasets
import evaluate
import jiwer
import numpy as np
import numpy.typing as npt

from prune_ssl.errors import DataError
from prune_ssl.tasks.verification_metrics import TARGET_PRIOR, equal_error_rate, min_detection_cost

EMPTY_SLOT = "none"
"""The value of a slot that is not spoken."""


class OfflineMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """A metric in memory, with `compute(predictions=..., references=...)` and `add_batch` of `evaluate`."""

    about: ClassVar[str]
    """One line that describes the metric."""
    takes: ClassVar[datasets.Features]
    """The types of `predictions` and `references`."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**{"keep_in_memory": True, **kwargs})

    def _build_data_dir(self) -> str:
        # evaluate would make a folder even for a metric in memory, and the disk may be read-only.
        if self.keep_in_memory:
            return ""
        return str(super()._build_data_dir())

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=self.about,
            citation="",
            inputs_description="predictions, references: of equal count",
            features=self.takes,
        )


class Accuracy(OfflineMetric):
    """`accuracy`, 0 to 1, of class indices.

    >>> Accuracy().compute(predictions=[0, 1, 1, 1], references=[0, 1, 0, 1])
    {'accuracy': 0.75}
    """

    about = "Fraction of predictions that equal their reference."
    takes = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})

    def _compute(self, predictions: npt.ArrayLike, references: npt.ArrayLike) -> dict[str, float]:
        return {"accuracy": float((np.asarray(predictions) == np.asarray(references)).mean())}


@dataclass(frozen=True)
class EditCounts:
    """Edits and reference length of each clip, both (clips,)."""

    errors: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]

    @property
    def rate(self) -> float:
        """Edits over reference units of all clips together. It may exceed 1."""
        return float(self.errors.sum() / self.lengths.sum())


_ALIGN: dict[str, Callable[[list[str], list[str]], jiwer.WordOutput | jiwer.CharacterOutput]] = {
    "word": jiwer.process_words,
    "character": jiwer.process_characters,
}


def edit_counts(predictions: Sequence[str], references: Sequence[str], unit: str = "word") -> EditCounts:
    """Count the substitutions, deletions and insertions of each clip (Levenshtein distance, by jiwer).

    Args:
        predictions: One transcript per clip.
        references: The reference transcripts.
        unit: "word" (separated by spaces) or "character" (spaces count).

    Raises:
        DataError: there are no clips, the counts differ, or a reference has no word.

    >>> edit_counts(["turn light on"], ["turn the light on"]).rate
    0.25
    """
    if not references or len(predictions) != len(references):
        raise DataError(
            f"edit_counts: found {len(predictions)} predictions for {len(references)} references, wanted "
            "equally many, and at least one"
        )
    empty = [index for index, text in enumerate(references) if not text.strip()]
    if empty:
        raise DataError(
            f"edit_counts: reference {empty[0]} is empty, so no error rate is defined: leave it out"
        )
    result = _ALIGN[unit](list(references), list(predictions))
    errors = [
        sum(
            max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
            for chunk in alignment
            if chunk.type != "equal"
        )
        for alignment in result.alignments
    ]
    return EditCounts(np.asarray(errors), np.asarray([len(units) for units in result.references]))


class _EditRate(OfflineMetric):
    takes = datasets.Features(
        {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
    )
    key: ClassVar[str]
    unit: ClassVar[str] = "word"

    def _compute(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        return {self.key: edit_counts(predictions, references, self.unit).rate}


class WordErrorRate(_EditRate):
    """`wer`: word edits over reference words, of transcripts.

    >>> WordErrorRate().compute(predictions=["turn on"], references=["turn it on"])["wer"]
    0.3333333333333333
    """

    about = "Word edits over reference words."
    key = "wer"


class CharacterErrorRate(_EditRate):
    """`cer`: character edits over reference characters, spaces included.

    >>> CharacterErrorRate().compute(predictions=["on"], references=["off"])["cer"]
    0.6666666666666666
    """

    about = "Character edits over reference characters, spaces included."
    key = "cer"
    unit = "character"


class PhonemeErrorRate(_EditRate):
    """`per`: phoneme edits over reference phonemes, of strings with a space between phonemes.

    >>> PhonemeErrorRate().compute(predictions=["n ow"], references=["n aw"])
    {'per': 0.5}
    """

    about = "Phoneme edits over reference phonemes."
    key = "per"


class _TrialMetric(OfflineMetric):
    takes = datasets.Features(
        {"predictions": datasets.Value("float64"), "references": datasets.Value("int64")}
    )


class EqualErrorRate(_TrialMetric):
    """`eer` of trial scores (higher means more similar) against 1 (same speaker) or 0.

    >>> EqualErrorRate().compute(predictions=[0.1, 0.2, 0.3, 0.4], references=[0, 1, 0, 1])
    {'eer': 0.5}
    """

    about = "Rate at which misses equal false alarms."

    def _compute(self, predictions: npt.ArrayLike, references: npt.ArrayLike) -> dict[str, float]:
        return {"eer": equal_error_rate(predictions, references)}


class MinDetectionCost(_TrialMetric):
    """`min_dcf` of trial scores, normalised, with both costs 1. It takes the inputs of `EqualErrorRate`.

    >>> MinDetectionCost().compute(predictions=[0.1, 0.9], references=[0, 1])
    {'min_dcf': 0.0}
    """

    about = "Smallest normalised detection cost over all thresholds."

    def _compute(
        self, predictions: npt.ArrayLike, references: npt.ArrayLike, target_prior: float = TARGET_PRIOR
    ) -> dict[str, float]:
        return {"min_dcf": min_detection_cost(predictions, references, target_prior)}


class SlotF1(OfflineMetric):
    """`f1` over the (slot, value) pairs of all clips together. A slot with the value "none" does not count.

    Predictions and references hold a list of "slot=value" for each clip.

    >>> SlotF1().compute(predictions=[["size=big", "milk=oat"]], references=[["size=big", "milk=none"]])
    {'f1': 0.6666666666666666}
    """

    about = "Micro-averaged F1 of slot-value pairs."
    takes = datasets.Features(
        {
            "predictions": datasets.Sequence(datasets.Value("string")),
            "references": datasets.Sequence(datasets.Value("string")),
        }
    )

    def _compute(
        self, predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        right, given = slot_counts(predictions, references)
        # No slot to find and none found is a perfect result.
        return {"f1": float(2 * right.sum() / given.sum()) if given.sum() else 1.0}


def slot_counts(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the right pairs of each clip, and its predicted plus its reference pairs, both (clips,).

    F1 is 2 * sum(first) / sum(second).
    """
    pairs = [(_spoken(found), _spoken(wanted)) for found, wanted in zip(predictions, references, strict=True)]
    right = [len(found & wanted) for found, wanted in pairs]
    given = [len(found) + len(wanted) for found, wanted in pairs]
    return np.asarray(right, dtype=np.int64), np.asarray(given, dtype=np.int64)


def _spoken(slots: Sequence[str]) -> set[str]:
    return {slot for slot in slots if slot.partition("=")[2] != EMPTY_SLOT}
