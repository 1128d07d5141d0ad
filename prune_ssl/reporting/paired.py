"""Paired differences: between the stages of a run, and how intervals say what was drawn."""

from collections.abc import Iterator, Mapping

from prune_ssl.reporting.formatting import STAGES, metric_name, metric_value, points_with_ends
from prune_ssl.reporting.model import DifferenceFacts
from prune_ssl.tasks import outcomes_from_data, paired_difference
from prune_ssl.tasks.differences import drawn_by

CONTROL = "control"
"""The stage of a dense model that was trained as long as the pruned one."""
SPEAKERS = "_speakers"
"""The end of the names of metrics that count the speakers of an interval."""
INTERVALS = (
    "Intervals are 95% bootstrap intervals. By speaker: speakers are drawn with all their clips, because"
    " the clips of one speaker are not independent, and few speakers make the interval wider (by Student's "
    "quantile). Differences are paired: both models are judged on the same draws."
)


def stage_differences(outcomes: Mapping[str, Mapping[str, str]]) -> list[DifferenceFacts]:
    """Return the paired differences between the first stage of a run, also its control, and each later one.

    Args:
        outcomes: The outcomes of each stage as `to_data` gives them.

    Raises:
        DataError: an outcome is damaged, or the stages were judged on different clips.
    """
    found = {stage: outcomes_from_data(outcomes[stage]) for stage in STAGES if stage in outcomes}
    if not found:
        return []
    first, *later = found
    pairs = [(first, stage) for stage in later]
    if CONTROL in found:
        pairs += [(CONTROL, stage) for stage in later if stage != CONTROL]
    return [
        DifferenceFacts(
            metric=each.metric,
            stage=stage,
            against=against,
            difference=each.difference,
            low=each.low,
            high=each.high,
            standard_error=each.standard_error,
            drawn=each.drawn,
        )
        for against, stage in pairs
        for each in [paired_difference(found[against], found[stage])]
    ]


def with_interval(found: DifferenceFacts) -> str:
    """Return a difference with its interval, such as `-1.2 points (-2.0 to +0.4)`."""
    return points_with_ends(found.metric, found.difference, found.low, found.high)


def interval_lines(found: Mapping[str, float]) -> Iterator[str]:
    """Yield a line for each metric of a stage that has an interval, and say how that was drawn."""
    for name, value in found.items():
        if {f"{name}_low", f"{name}_high"} <= found.keys():
            low, high = (metric_value(name, found[f"{name}_{end}"]) for end in ("low", "high"))
            drawn = drawn_by(found.get(f"{name}{SPEAKERS}"))
            yield (f"{metric_name(name)} {metric_value(name, value)}, 95% interval {low} to {high} ({drawn})")
