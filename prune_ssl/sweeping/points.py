"""The point of a finished run in the table of a sweep."""

from pathlib import Path

from prune_ssl.errors import ArtifactError
from prune_ssl.measuring import speed_up
from prune_ssl.reporting import Report
from prune_ssl.reporting.sweep_point import SweepPoint
from prune_ssl.tasks import outcomes_from_data


def point_of(path: Path, budget: str, method: str, seed: int) -> SweepPoint:
    """Return the point of a run's report.json: its quality after recovery, and its costs.

    Args:
        path: The report.json of the run.
        budget: The budget of the trial.
        method: The method of the trial.
        seed: The seed of the trial.

    Raises:
        ArtifactError: the report has no dense model or no result.
    """
    data = Report.load(path).data
    stages = data.results
    stage = "recovered" if stages.get("recovered") else "cut"
    last = stages.get(stage, {})
    metric = next((name for name in last if name != "loss"), "loss")
    if data.baseline is None or metric not in last:
        raise ArtifactError(f"{path} has no dense model or no result to compare: run its recipe again.")
    small, dense = data.model.measurement, data.baseline.measurement
    at = data.reference_seconds
    times = [
        (latency, reference)
        for latency in small.latency
        if (reference := dense.latency_at(latency.seconds, latency.threads)) is not None
    ]
    # Prefer the audio length of the MACs, else the longest; then the smallest number of threads.
    times.sort(key=lambda pair: (pair[0].seconds == at, pair[0].seconds, -pair[0].threads))
    timed, reference = times[-1] if times else (None, None)
    speed = speed_up(reference, timed) if reference is not None and timed is not None else None
    return SweepPoint(
        budget=budget,
        method=method,
        seed=seed,
        metric=metric,
        value=last[metric],
        cut=stages.get("cut", {}).get(metric),
        dense=stages.get("dense", {}).get(metric),
        macs=small.macs[at],
        macs_kept=small.macs[at] / dense.macs[at],
        params=small.params,
        params_kept=small.params / dense.params,
        latency_ms=None if timed is None else timed.median_ms,
        latency_kept=None if speed is None else 1 / speed.ratio,
        folder=str(path.parent / "model"),
        seconds=at,
        latency_seconds=None if timed is None else timed.seconds,
        unsteady=speed.reason if speed is not None and speed.unsteady else "",
        low=last.get(f"{metric}_low"),
        high=last.get(f"{metric}_high"),
        outcomes=outcomes_from_data(data.outcomes[stage]) if stage in data.outcomes else None,
    )
