"""The first screen of a report: size, time and metric in three tiles, and the answer in a sentence."""

from dataclasses import dataclass

from prune_ssl.reporting import formatting as form
from prune_ssl.reporting.model import Comparison, DifferenceFacts, ReportData, plural_threads
from prune_ssl.reporting.paired import with_interval
from prune_ssl.reporting.sweep_point import LOWER_IS_BETTER

LAST_STAGES = ("distilled", "recovered", "cut", "fine_tuned")
"""Candidates for the final stage. The first one that has results counts."""


@dataclass(frozen=True)
class Tile:
    """One part of the answer."""

    name: str
    figure: str
    """The figure, large."""
    details: tuple[str, ...]
    """The lines below it."""


def last_stage(data: ReportData) -> str:
    """Return the final stage that has results, or an empty text."""
    return next((stage for stage in LAST_STAGES if stage in data.results), "")


def main_metric(data: ReportData) -> str:
    """Return the first metric of the final stage that is shown in percent, or an empty text."""
    names = data.results.get(last_stage(data), {})
    return next((name for name in names if name.lower() in form.PERCENT_METRICS), "")


def tiles(data: ReportData) -> list[Tile]:
    """Return the tiles that the data can fill: size, time, metric."""
    found = [_size(data), _time(data), _metric(data)]
    return [tile for tile in found if tile is not None]


def verdict(data: ReportData) -> str:
    """Return the answer in one or two sentences. A model that is reported alone has none.

    A change of the metric counts as told only if its paired interval leaves zero out, and a speed-up only if
    it is claimed.
    """
    dense, small = data.baseline, data.model
    if dense is None:
        return ""
    macs = [each.measurement.macs.get(data.reference_seconds) for each in (small, dense)]
    kept = f"{form.share(small.measurement.params, dense.measurement.params)} of the parameters"
    if macs[0] is not None and macs[1]:
        kept = f"{form.share(macs[0], macs[1])} of the MACs and {kept}"
    ends = [end for end in (_speed_in_words(data), _change_in_words(data)) if end]
    return f"The {data.made} model keeps {kept}" + "".join(f"; {end}" for end in ends) + "."


def _size(data: ReportData) -> Tile:
    small, dense = data.model.measurement, data.baseline.measurement if data.baseline else None
    bytes_ = small.size_bytes
    figure = form.quantity(small.params) + " parameters" if bytes_ is None else form.megabytes(bytes_)
    if dense is None:
        return Tile("Size", figure, (f"{form.quantity(small.params)} parameters",))
    details = [f"{form.share(small.params, dense.params)} of {form.quantity(dense.params)} parameters"]
    if dense.size_bytes and bytes_:
        details.insert(0, f"dense: {form.megabytes(dense.size_bytes)}")
    seconds = data.reference_seconds
    if seconds in small.macs and dense.macs.get(seconds):
        kept = form.share(small.macs[seconds], dense.macs[seconds])
        details.append(f"{kept} of {form.quantity(dense.macs[seconds])} MACs, {seconds:g} s")
    return Tile("Size", figure, tuple(details))


def _longest(data: ReportData) -> Comparison | None:
    """Return the comparison of times that the first screen shows: of the longest audio, with one thread."""
    by_threads = sorted(data.comparisons, key=lambda each: (each.speed_up.threads, -each.speed_up.seconds))
    return by_threads[0] if by_threads else None


def _time(data: ReportData) -> Tile | None:
    shown = _longest(data)
    if shown is None or data.baseline is None:
        alone = data.model.measurement.latency
        if not alone:
            return None
        where = f"{alone[0].seconds:g} s of audio, {plural_threads(alone[0].threads)}"
        return Tile("Time", form.milliseconds(alone[0].median_ms), (where,))
    speed = shown.speed_up
    after = data.model.measurement.latency_at(speed.seconds, speed.threads)
    before = data.baseline.measurement.latency_at(speed.seconds, speed.threads)
    where = f"{speed.seconds:g} s of audio, {plural_threads(speed.threads)}"
    times = (f"dense: {form.milliseconds(before.median_ms)}",) if before else ()
    figure = form.milliseconds(after.median_ms) if after else "-"
    claim = "no speed-up is claimed" if speed.within_noise else f"{speed} as fast"
    return Tile("Time", figure, (*times, claim, where))


def _metric(data: ReportData) -> Tile | None:
    name, last = main_metric(data), last_stage(data)
    if not name:
        return None
    after, before = data.results[last], data.results.get("dense", {})
    details = []
    if {f"{name}_low", f"{name}_high"} <= after.keys():
        low, high = (form.metric_value(name, after[f"{name}_{end}"]) for end in ("low", "high"))
        details.append(f"95% interval {low} to {high}")
    if name in before and last != "dense":
        details.insert(0, f"dense: {form.metric_value(name, before[name])}")
        told = _told(data)
        details.append(with_interval(told) if told else form.points(name, after[name] - before[name]))
    title = form.metric_title(name)
    return Tile(title[0].upper() + title[1:], form.metric_value(name, after[name]), tuple(details))


def _told(data: ReportData) -> DifferenceFacts | None:
    """Return the paired difference between the final stage and the dense model, if it was measured."""
    name, last = main_metric(data), last_stage(data)
    wanted = (name, last, "dense")
    found = (each for each in data.differences if (each.metric, each.stage, each.against) == wanted)
    return next(found, None)


def _speed_in_words(data: ReportData) -> str:
    shown = _longest(data)
    if shown is None:
        return ""
    speed = shown.speed_up
    claim = "no speed-up is claimed" if speed.within_noise else f"it is {speed} as fast"
    return f"{claim} on {speed.seconds:g} s of audio"


def _change_in_words(data: ReportData) -> str:
    name, told = main_metric(data), _told(data)
    if told is None:
        return ""
    title = form.metric_title(name)
    if told.low <= 0 <= told.high:
        return f"its {title} cannot be told from the dense model's on these clips"
    better = (told.difference < 0) == (name.lower() in LOWER_IS_BETTER)
    size = form.points(name, abs(told.difference)).lstrip("+")
    return f"its {title} is {size} {'better' if better else 'worse'} than the dense model's"
