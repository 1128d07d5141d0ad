"""Compare two timed models: the speed-up of one over the other, and whether it may be claimed."""

from dataclasses import dataclass

from prune_ssl.profiling.timing import Latency

LEAST_SAMPLES_FOR_CLAIM = 9
"""With fewer timed calls the spread is not known well enough, so no speed-up is claimed."""


@dataclass(frozen=True)
class SpeedUp:
    """The ratio of two latencies, and whether the timing is steady enough to claim it as a speed-up."""

    ratio: float
    """Time of the reference over time of the model (low quartiles). Above 1 the model is faster."""
    low: float
    """The smallest ratio among the repeats (and, on one thread, the ratio of processor times)."""
    high: float
    """The largest ratio among the same."""
    within_noise: bool
    """True if no speed-up is claimed. `reason` tells the cause."""
    seconds: float
    threads: int
    reason: str = ""
    """The reason why no speed-up is claimed: noise, too few calls, or other work of the machine."""
    unsteady: bool = False
    """Whether the reason is other work of the machine."""

    def __str__(self) -> str:
        """Return the ratio as `1.92x`, or `within noise` or `not claimed`."""
        if self.unsteady:
            return "not claimed"
        return "within noise" if self.within_noise else f"{self.ratio:.2f}x"


def speed_up(reference: Latency, model: Latency) -> SpeedUp:
    """Compare two latencies of the same input length, batch size and thread count.

    Raises:
        ValueError: the two were measured under different conditions.

    >>> slow = Latency(20.0, 19.9, 20.1, n=50, threads=1, seconds=1.0, repeats_ms=(20.0, 20.1))
    >>> fast = Latency(10.0, 9.9, 10.1, n=50, threads=1, seconds=1.0, repeats_ms=(10.0, 9.9))
    >>> str(speed_up(slow, fast))
    '2.00x'
    """
    conditions = [(latency.seconds, latency.threads, latency.batch_size) for latency in (reference, model)]
    if conditions[0] != conditions[1]:
        raise ValueError(
            f"speed_up: the reference was timed at (seconds, threads, batch) = {conditions[0]}, "
            f"the model at {conditions[1]}: "
            "time both under the same conditions with measure_interleaved"
        )
    ratio = _typical_ms(reference) / _typical_ms(model)
    found = [before / after for before, after in zip(reference.repeats_ms, model.repeats_ms, strict=False)]
    if not found:  # latencies without repeats: the worst and the best case of their percentiles
        found = [reference.p10_ms / model.p90_ms, reference.p90_ms / model.p10_ms]
    if model.threads == 1 and reference.processor_ms and model.processor_ms:
        found.append(reference.processor_ms / model.processor_ms)  # waiting for a core does not change it
    low, high = min(*found, ratio), max(*found, ratio)
    unsteady = reference.unsteady or model.unsteady
    return SpeedUp(
        ratio=ratio,
        low=low,
        high=high,
        within_noise=bool(unsteady or _noise(reference, model, ratio, high - low)),
        seconds=model.seconds,
        threads=model.threads,
        reason=unsteady or _noise(reference, model, ratio, high - low),
        unsteady=bool(unsteady),
    )


def _typical_ms(latency: Latency) -> float:
    return latency.median_ms if latency.low_ms is None else latency.low_ms


def _noise(reference: Latency, model: Latency, ratio: float, width: float) -> str:
    """Return the reason why a gain may be noise, or an empty text."""
    calls = min(reference.n, model.n)
    if calls < LEAST_SAMPLES_FOR_CLAIM:
        return f"{calls} calls were timed, fewer than {LEAST_SAMPLES_FOR_CLAIM}"
    gain = abs(ratio - 1.0)
    return f"repeats differ by {width:.2f}x, the gain is {gain:.2f}x" if width >= gain else ""
