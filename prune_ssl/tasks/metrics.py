"""Owns task metrics that work offline, and the confidence interval of a mean.

`evaluate.load("accuracy")` fetches a script from the hub; a subclass of `evaluate.Metric` needs no network.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import datasets
import evaluate
import numpy as np
import numpy.typing as npt

from prune_ssl.errors import DataError


class Accuracy(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """Fraction of predictions that equal their reference.

    `Accuracy().compute(predictions=[...], references=[...])` gives `{"accuracy": fraction in 0..1}`;
    `add_batch` works as for any metric of `evaluate`. Predictions and references are class indices.
    """

    def __init__(self, **kwargs: Any) -> None:
        # In memory; the folder that evaluate makes all the same goes to the temporary directory, as a home
        # may be read-only.
        cache = Path(tempfile.gettempdir()) / "prune_ssl_metrics"
        super().__init__(**{"keep_in_memory": True, "cache_dir": str(cache), **kwargs})

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Fraction of predictions that equal their reference.",
            citation="",
            inputs_description="predictions, references: class indices of equal count",
            features=datasets.Features(
                {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"accuracy": float((np.asarray(predictions) == np.asarray(references)).mean())}


def bootstrap_interval(
    values: npt.ArrayLike, confidence: float = 0.95, resamples: int = 2_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean.

    Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 13. For an accuracy, `values` are 1
    where a clip is right and 0 where it is wrong; for the difference of two models on the same clips, the
    differences of these.

    Args:
        values: One number per example, shape (examples,).
        confidence: Mass inside the interval, between 0 and 1.
        resamples: How often the examples are drawn again.
        seed: The same seed gives the same interval.

    Returns:
        The lower and the upper end.

    Raises:
        DataError: no values, or a confidence outside (0, 1).
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise DataError(
            f"bootstrap_interval: values of shape {array.shape} given, a non-empty list of numbers wanted"
        )
    if not 0 < confidence < 1:
        raise DataError(
            f"bootstrap_interval: confidence is {confidence}, a number between 0 and 1 wanted (0.95, not 95)"
        )
    generator = np.random.default_rng(seed)
    # One resample at a time: memory stays at the size of the test set.
    means = [array[generator.integers(array.size, size=array.size)].mean() for _ in range(resamples)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
