"""Owns comparing two timed models: how many times faster one is, and when that is not claimed."""

from dataclasses import dataclass

from prune_ssl.profiling.timing import Latency

LEAST_SAMPLES_FOR_CLAIM = 9
"""Below this many timed calls their spread says nothing, so no speed-up is claimed."""


@dataclass(frozen=True)
class SpeedUp:
    """How many times faster one model ran than another, and whether the timing is steady enough to say so."""

    ratio: float
    """Time of the reference over that of the model (low quartiles): above 1, the model is faster."""
    low: float
    """The least ratio among the repeats, and that of processor times on one thread."""
    high: float
    """The greatest."""
    within_noise: bool
    """True where no speed-up is claimed; `reason` says why."""
    seconds: float
    threads: int
    reason: str = ""
    """Why no speed-up is claimed: noise, too few calls, or a machine that does other work."""
    unsteady: bool = False
    """Whether that is because the machine does other work."""

    def __str__(self) -> str:
        """Return `1.92x`, or refuse with `within noise` or `not claimed`."""
        if self.unsteady:
            return "not claimed"
        return "within noise" if self.within_noise else f"{self.ratio:.2f}x"


def speed_up(reference: Latency, model: Latency) -> SpeedUp:
    """Compare two latencies of the same input length, batch size and thread count.

    Raises:
        ValueError: the two were not measured under the same conditions, so that their ratio means nothing.
    """
    conditions = [(latency.seconds, latency.threads, latency.batch_size) for latency in (reference, model)]
    if conditions[0] != conditions[1]:
        raise ValueError(
            f"speed_up: the reference was timed at (seconds, threads, batch) = {conditions[0]}, "
            f"the model at {conditions[1]}; "
            "time both under the same conditions with measure_interleaved"
        )
    ratio = _of(reference) / _of(model)
    found = [before / after for before, after in zip(reference.repeats_ms, model.repeats_ms, strict=False)]
    if not found:  # latencies from elsewhere: the unkind and the kind end of their percentiles
        found = [reference.p10_ms / model.p90_ms, reference.p90_ms / model.p10_ms]
    if model.threads == 1 and reference.processor_ms and model.processor_ms:
        found.append(reference.processor_ms / model.processor_ms)  # what waiting for a core does not change
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


def _of(latency: Latency) -> float:
    return latency.median_ms if latency.low_ms is None else latency.low_ms


def _noise(reference: Latency, model: Latency, ratio: float, width: float) -> str:
    """Return why a gain is no more than noise, or nothing."""
    calls = min(reference.n, model.n)
    if calls < LEAST_SAMPLES_FOR_CLAIM:
        return f"{calls} calls were timed, fewer than {LEAST_SAMPLES_FOR_CLAIM}"
    gain = abs(ratio - 1.0)
    return f"repeats differ by {width:.2f}x, the gain is {gain:.2f}x" if width >= gain else ""
