"""The Pareto page of a sweep: quality against cost with a point per model, as HTML without scripts or CSV."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path
from statistics import mean

from prune_ssl.reporting.between_methods import COLUMNS as DIFFERENCE_COLUMNS
from prune_ssl.reporting.between_methods import (
    CSV_COLUMNS,
    csv_cells,
    difference_cells,
    method_differences,
)
from prune_ssl.reporting.content import Table
from prune_ssl.reporting.formatting import (
    PERCENT_METRICS,
    ends,
    metric_title,
    metric_value,
    milliseconds,
    percent,
    quantity,
)
from prune_ssl.reporting.paired import INTERVALS
from prune_ssl.reporting.render import html_table, page
from prune_ssl.reporting.scatter import STYLE, Dot, Frame, scatter_plot
from prune_ssl.reporting.sweep_point import LOWER_IS_BETTER, SweepPoint


@dataclass(frozen=True)
class Axis:
    """The cost on the x axis of one plot."""

    title: str
    cost: Callable[[SweepPoint], float | None]
    """Returns the cost of a point, or None if it was not measured."""
    percent: bool = True
    """Whether the cost is a fraction of the dense model's."""


AXES: dict[str, Axis] = {
    "macs": Axis("MACs kept", lambda point: point.macs_kept),
    "params": Axis("parameters kept", lambda point: point.params_kept),
    "milliseconds": Axis("latency in ms", lambda point: point.latency_ms, percent=False),
    "latency": Axis("latency kept", lambda point: point.latency_kept),
}
"""The cost on the x axis of each plot. A plot whose cost was not measured is left out."""


def front(points: Sequence[SweepPoint], axis: str) -> list[SweepPoint]:
    """Return the Pareto front, sorted by cost: the points that no other beats in both cost and quality."""
    cost = AXES[axis].cost
    placed = [(value, point) for point in points if (value := cost(point)) is not None]
    best: list[SweepPoint] = []
    for _, point in sorted(placed, key=lambda each: (each[0], -each[1].goodness)):
        if not best or point.goodness > best[-1].goodness:
            best.append(point)
    return best


def pareto_csv(points: Sequence[SweepPoint]) -> str:
    """Return all points as CSV with a header, each with its paired difference from the first method."""
    text, differences = io.StringIO(), method_differences(points)
    names = [each.name for each in fields(SweepPoint) if each.name != "outcomes"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, *CSV_COLUMNS])
    for point in points:
        cells = [*(getattr(point, name) for name in names), *csv_cells(differences, point)]
        writer.writerow(["" if cell is None else cell for cell in cells])
    return text.getvalue()


CAPTION = (
    "Each method has a shape and a colour of its own. Numbers are rows of the table, and a marker leads to "
    "the report of its model. Upright lines are 95% intervals. A thin line joins the means over seeds of one "
    "method; the broad band joins the models that no other beats. A marker that would hide another stands "
    "beside its place."
)


BY_MEAN = (
    "By the mean over seeds. A lead counts only if its interval in the table of differences leaves zero out."
)


def pareto_html(points: Sequence[SweepPoint], title: str, notes: Sequence[str] = ()) -> str:
    """Return one self-contained page with its notes, a plot per axis and a table of all points."""
    metric = points[0].metric
    better = "lower is better" if metric.lower() in LOWER_IS_BETTER else "higher is better"
    shown = [name for name, axis in AXES.items() if any(axis.cost(point) is not None for point in points)]
    figures = [
        f"<section><h2>{escape(_capital(metric_title(metric)))} against {escape(AXES[name].title)}</h2>"
        f"<figure tabindex=0>{_plot(points, name)}"
        f"<figcaption>{CAPTION if name == shown[0] else ''}</figcaption></figure></section>"
        for name in shown
    ]
    links = [report_of(point) for point in points]
    answer = verdict(points)
    return page(
        title,
        f"{len(points)} models; {metric_title(metric)}, {better}",
        "".join(f"<p>{escape(note)}</p>" for note in notes)
        + (f"<section class=answer><p class=verdict>{escape(answer)}</p></section>" if answer else "")
        + f"<section><h2>Best method at each budget</h2>{html_table(best_table(points))}"
        f"<p>{escape(BY_MEAN)}</p></section>"
        + "".join(figures)
        + f"<section><h2>Models</h2>{html_table(models_table(points), links)}</section>"
        + _differences(points),
        STYLE,
    )


def pareto_svg(points: Sequence[SweepPoint], axis: str) -> str:
    """Return the plot of one axis as the text of an SVG file with a white background."""
    return _plot(points, axis, standalone=True) + "\n"


def report_of(point: SweepPoint) -> str:
    """Return the address of a model's report, relative to the page in the folder of the sweep."""
    return f"{Path(point.folder).parent.name}/report.html" if Path(point.folder).parent.name else ""


def best_table(points: Sequence[SweepPoint]) -> Table:
    """Return the best method at each budget by its mean over seeds, and the next best one."""
    metric, rows = points[0].metric, []
    for budget in dict.fromkeys(point.budget for point in points):
        by_method: dict[str, list[SweepPoint]] = {}
        for point in points:
            if point.budget == budget:
                by_method.setdefault(point.method, []).append(point)
        ranked = sorted(by_method, key=lambda name: -mean(each.goodness for each in by_method[name]))
        means = [mean(each.value for each in by_method[name]) for name in ranked]
        dense = [point.dense for point in points if point.dense is not None]
        behind = [each for each in zip(ranked, means, strict=True) if each[1] != means[0]]
        second = f"{behind[0][0]}, {metric_value(metric, behind[0][1])}" if behind else "-"
        seeds = len(by_method[ranked[0]])
        whole = metric_value(metric, mean(dense)) if dense else "-"
        best = " and ".join(name for name, found in zip(ranked, means, strict=True) if found == means[0])
        rows.append([budget, best, metric_value(metric, means[0]), whole, second, str(seeds)])
    return Table(["budget", "method", _capital(metric_title(metric)), "dense", "next best", "seeds"], rows)


NEAR = 0.01
"""A model counts as near the dense one if its metric is worse by at most this much: one point."""


def verdict(points: Sequence[SweepPoint]) -> str:
    """Return the smallest model that is near the dense one, in a sentence, by means over seeds.

    It is empty if the metric is not one in percent, or the dense models were not judged.
    """
    metric, dense = points[0].metric, [point.dense for point in points if point.dense is not None]
    if metric.lower() not in PERCENT_METRICS or not dense:
        return ""
    title, whole = metric_title(metric), mean(dense)
    sign = -1 if metric.lower() in LOWER_IS_BETTER else 1
    found: dict[tuple[str, str], list[SweepPoint]] = {}
    for point in points:
        found.setdefault((point.method, point.budget), []).append(point)
    near = [
        (mean(each.macs_kept for each in cell), -sign * value, name, value)
        for name, cell in found.items()
        if sign * ((value := mean(each.value for each in cell)) - whole) >= -NEAR
    ]
    than = f"the dense model's {metric_value(metric, whole)}"
    if not near:
        return f"No method has a {title} within one point of {than}."
    kept, _, (method, budget), value = min(near)
    return (
        f"{method} at {budget} is the smallest model whose {title} is within one point of {than}: "
        f"{metric_value(metric, value)} with {percent(kept)} of the MACs."
    )


def models_table(points: Sequence[SweepPoint]) -> Table:
    """Return a row for each model. The shares of the dense model that are kept are in brackets."""
    metric = _capital(metric_title(points[0].metric))
    found = [dict(zip(COLUMNS, cells(point), strict=True)) for point in points]
    seeds = len({point.seed for point in points}) > 1
    columns = ["no.", "method", "budget", *(["seed"] if seeds else [])]
    columns += [f"{metric} (95% interval)", "after the cut"]
    columns += [f"MACs{_length(point.seconds for point in points)} (kept)", "parameters (kept)"]
    timed = any(point.latency_ms is not None for point in points)
    rows = []
    for number, (point, cell) in enumerate(zip(points, found, strict=True), 1):
        row = [str(number), point.method, point.budget, *([str(point.seed)] if seeds else [])]
        value = metric_value(point.metric, point.value)
        if point.low is not None and point.high is not None:
            value = f"{value} ({ends(point.metric, point.low, point.high)})"
        row += [value, cell["right after the cut"]]
        row += [f"{quantity(point.macs)} ({cell['MACs kept']})"]
        row += [f"{cell['parameters']} ({cell['parameters kept']})"]
        share = "unsteady" if point.unsteady else cell["latency kept"]
        time = "-" if point.latency_ms is None else f"{milliseconds(point.latency_ms)} ({share})"
        rows.append([*row, *([time] if timed else [])])
    if timed:
        columns.append(f"latency{_length(point.latency_seconds for point in points)} (kept)")
    return Table(columns, rows)


def _length(lengths: Iterable[float | None]) -> str:
    """Return the audio length of a column, or an empty text if there are several or none."""
    found = {each for each in lengths if each is not None}
    return f", {found.pop():g} s" if len(found) == 1 else ""


def _plot(points: Sequence[SweepPoint], name: str, standalone: bool = False) -> str:
    axis, metric = AXES[name], points[0].metric
    placed = [
        (value, number, point)
        for number, point in enumerate(points, 1)
        if (value := axis.cost(point)) is not None
    ]
    dots = [
        Dot(
            x=value,
            y=point.value,
            series=point.method,
            group=point.budget,
            low=point.low,
            high=point.high,
            name=str(number),
            note=_note(point),
            link=report_of(point),
        )
        for value, number, point in placed
    ]
    dense = [point.dense for _, _, point in placed if point.dense is not None]
    level = mean(dense) if dense else None
    frame = Frame(
        label=f"{metric} by {axis.title}",
        x_title=axis.title + _lengths(points) * axis.title.startswith("latency"),
        x_percent=axis.percent,
        y_percent=metric.lower() in PERCENT_METRICS,
        level=level,
        level_note="" if level is None else f"dense {metric_value(metric, level)}",
    )
    best = [(axis.cost(point) or 0.0, point.value) for point in front(points, name)]
    return scatter_plot(dots, frame, best, standalone)


def _lengths(points: Sequence[SweepPoint]) -> str:
    """Return the audio lengths of the latencies in brackets."""
    lengths = {point.latency_seconds for point in points if point.latency_seconds is not None}
    return f" ({', '.join(f'{each:g} s' for each in sorted(lengths))} of audio)" if lengths else ""


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _note(point: SweepPoint) -> str:
    return "\n".join(f"{name}: {cell}" for name, cell in zip(COLUMNS, cells(point), strict=True))


COLUMNS = (
    *("method", "budget", "seed", "quality", "95% interval", "right after the cut", "dense", "MACs"),
    *("MACs kept", "parameters", "parameters kept", "latency", "latency kept"),
)


def cells(point: SweepPoint) -> list[str]:
    """Return the cells of one point in the order of COLUMNS."""
    interval = [metric_value(point.metric, end) for end in (point.low, point.high)]
    time = point.latency_ms
    return [
        point.method,
        point.budget,
        str(point.seed),
        f"{metric_value(point.metric, point.value)} {point.metric}",
        "-" if "-" in interval else " to ".join(interval),
        metric_value(point.metric, point.cut),
        metric_value(point.metric, point.dense),
        _at(quantity(point.macs), point.seconds),
        percent(point.macs_kept),
        quantity(point.params),
        percent(point.params_kept),
        "-" if time is None else _at(milliseconds(time), point.latency_seconds),
        "-"
        if point.latency_kept is None
        else f"{percent(point.latency_kept)}{' (unsteady)' * bool(point.unsteady)}",
    ]


def _at(cell: str, seconds: float | None) -> str:
    return cell if seconds is None else f"{cell} ({seconds:g} s)"


def _differences(points: Sequence[SweepPoint]) -> str:
    """Return the table of paired differences between methods, or nothing if no two can be compared."""
    found = method_differences(points)
    if not found:
        return ""
    table = html_table(Table(list(DIFFERENCE_COLUMNS), [difference_cells(each) for each in found]))
    return (
        f"<section><h2>Differences from {escape(found[0].against)}, on the same clips and seeds</h2>{table}"
        f"<p>{escape(INTERVALS)} The error over seeds is the standard error of the mean.</p></section>"
    )
