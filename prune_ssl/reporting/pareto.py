"""The Pareto page of a sweep: quality against cost with a point per model, as HTML without scripts or CSV."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from html import escape
from importlib.resources import files
from math import ceil, floor, log10
from string import Template

from prune_ssl.reporting.between_methods import COLUMNS as DIFFERENCE_COLUMNS
from prune_ssl.reporting.between_methods import (
    CSV_COLUMNS,
    csv_cells,
    difference_cells,
    method_differences,
)
from prune_ssl.reporting.formatting import PERCENT_METRICS, metric_value, milliseconds, quantity
from prune_ssl.reporting.paired import INTERVALS
from prune_ssl.reporting.sweep_point import LOWER_IS_BETTER, SweepPoint

COLOURS = (
    *("#2f7fd1", "#d9822b", "#3d9970", "#b0568f", "#8a7ad1", "#7a8b2f", "#c0392b", "#16a0a0"),
    *("#8c6d4f", "#e377c2", "#5b6573", "#c9a400"),
)
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 330, 62, 28, 14, 44
LEGEND_COLUMNS, LEGEND_ROW, LEGEND_LEFT = 3, 18, 12


AXES: dict[str, tuple[str, Callable[[SweepPoint], float | None]]] = {
    "macs": ("MACs kept", lambda point: point.macs_kept),
    "params": ("parameters kept", lambda point: point.params_kept),
    "latency": ("latency kept", lambda point: point.latency_kept),
}
"""The label of the x axis of each plot, and its value (a fraction of the dense model's)."""


def front(points: Sequence[SweepPoint], axis: str) -> list[SweepPoint]:
    """Return the Pareto front, sorted by cost: the points that no other beats in both cost and quality."""
    cost = AXES[axis][1]
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


def pareto_html(points: Sequence[SweepPoint], title: str, notes: Sequence[str] = ()) -> str:
    """Return one self-contained page with its notes, a plot per axis and a table of all points."""
    room = files(__package__)
    metric = points[0].metric
    better = "lower is better" if metric.lower() in LOWER_IS_BETTER else "higher is better"
    figures = [
        f"<h2>{escape(_title(metric))} against {escape(label)}</h2>"
        f"<figure>{_plot(points, axis)}<figcaption>{CAPTION}</figcaption></figure>"
        for axis, (label, cost) in AXES.items()
        if any(cost(point) is not None for point in points)
    ]
    return Template((room / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        subtitle=escape(f"{len(points)} models; {metric}, {better}"),
        style=(room / "page.css").read_text(encoding="utf-8") + POINT_STYLE,
        body="".join(f"<p>{escape(note)}</p>" for note in notes)
        + "".join(figures)
        + f"<h2>Models</h2>{_table(COLUMNS, [_cells(point) for point in points])}"
        + _differences(points),
    )


CAPTION = (
    "Hover over a point for its figures. A thin line joins the means over seeds of one method; the broad "
    "band joins the models that no other beats; the dashed line is the dense model."
)
POINT_STYLE = """
circle { stroke: var(--page); stroke-width: 1.5; }
circle:hover { r: 9; stroke: var(--ink); }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
"""
FILE_STYLE = (
    "<style>circle { stroke: #fff; stroke-width: 1.5 } text { fill: #5d6670; font: 12px sans-serif }"
    "</style><rect width='100%' height='100%' fill='#fff'/>"
)


def pareto_svg(points: Sequence[SweepPoint], axis: str) -> str:
    """Return the plot of one axis as the text of an SVG file with a white background."""
    drawing = _plot(points, axis).replace(
        "<svg ", '<svg xmlns="http://www.w3.org/2000/svg" color="#1a1d21" ', 1
    )
    start = drawing.index(">") + 1
    return drawing[:start] + FILE_STYLE + drawing[start:] + "\n"


@dataclass(frozen=True)
class _Frame:
    """The mapping from values to places in the drawing."""

    low: float
    high: float
    widest: float

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * value / self.widest

    def y(self, value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (self.high - value) / (self.high - self.low)


def _frame(shown: Sequence[tuple[float, SweepPoint]]) -> _Frame:
    values = [point.value for _, point in shown]
    values += [point.dense for _, point in shown if point.dense is not None]
    low, high = min(values), max(values)
    margin = max(0.08 * (high - low), 0.01 * abs(high), 1e-6)
    return _Frame(low - margin, high + margin, max(1.0, *(value for value, _ in shown)))


def _plot(points: Sequence[SweepPoint], axis: str) -> str:
    cost = AXES[axis][1]
    shown = [(value, point) for point in points if (value := cost(point)) is not None]
    frame, metric, colours = _frame(shown), points[0].metric, _colours(points)
    rows = -(-len(colours) // LEGEND_COLUMNS)
    height = HEIGHT + LEGEND_ROW * rows + 10
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(metric)} by {axis}">']
    parts += _grid(frame, metric, axis)
    line = " ".join(f"{frame.x(cost(p) or 0):.1f},{frame.y(p.value):.1f}" for p in front(points, axis))
    parts.append(
        f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-opacity="0.1" stroke-width="9" '
        'stroke-linejoin="round" stroke-linecap="round"/>'
    )
    dense = [point.dense for _, point in shown if point.dense is not None]
    if dense:
        mean = sum(dense) / len(dense)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{frame.y(mean):.1f}" y2="{frame.y(mean):.1f}" '
            f'stroke="currentColor" stroke-dasharray="5 4" stroke-opacity="0.6"><title>dense: '
            f"{metric_value(metric, mean)}</title></line>"
        )
    for method, colour in colours.items():
        parts.append(_line_of(frame, [each for each in shown if each[1].method == method], colour))
    for value, point in shown:
        parts.append(
            f'<circle cx="{frame.x(value):.1f}" cy="{frame.y(point.value):.1f}" r="5.5" '
            f'fill="{colours[point.method]}"><title>{escape(_note(point))}</title></circle>'
        )
    return "".join([*parts, *_legend(colours), "</svg>"])


def _grid(frame: _Frame, metric: str, axis: str) -> list[str]:
    parts = []
    for level in _ticks(frame.low, frame.high):
        y = frame.y(level)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" '
            f'stroke-opacity="0.12"/><text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{_short(metric, level)}</text>"
        )
    for at in _ticks(0.0, frame.widest):
        parts.append(
            f'<text x="{frame.x(at):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{at:.0%}</text>'
        )
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}" text-anchor="middle">{AXES[axis][0]}</text>')
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """Return three to nine multiples of 1, 2 or 5 x 10^n within the range."""
    rough = (high - low) / 8
    size = 10 ** floor(log10(rough))
    step = size * next(each for each in (1, 2, 5, 10) if each * size >= rough)
    return [step * index for index in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def _line_of(frame: _Frame, shown: Sequence[tuple[float, SweepPoint]], colour: str) -> str:
    """Return the line through the means over seeds of one method, one mean per budget."""
    by_budget: dict[str, list[tuple[float, float]]] = {}
    for value, point in shown:
        by_budget.setdefault(point.budget, []).append((frame.x(value), frame.y(point.value)))
    means = sorted(
        tuple(sum(part) / len(found) for part in zip(*found, strict=True)) for found in by_budget.values()
    )
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in means)
    return f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-opacity="0.55"/>'


def _legend(colours: Mapping[str, str]) -> list[str]:
    parts = []
    for index, (method, colour) in enumerate(colours.items()):
        x = LEGEND_LEFT + (WIDTH - LEGEND_LEFT) / LEGEND_COLUMNS * (index % LEGEND_COLUMNS)
        y = HEIGHT + 14 + LEGEND_ROW * (index // LEGEND_COLUMNS)
        parts.append(
            f'<rect x="{x:.0f}" y="{y - 9}" width="10" height="10" rx="5" fill="{colour}"/>'
            f'<text x="{x + 15:.0f}" y="{y}">{escape(method)}</text>'
        )
    return parts


def _colours(points: Sequence[SweepPoint]) -> dict[str, str]:
    methods = dict.fromkeys(point.method for point in points)
    return {method: COLOURS[index % len(COLOURS)] for index, method in enumerate(methods)}


def _title(metric: str) -> str:
    return metric.upper() if len(metric) <= 3 else metric[0].upper() + metric[1:]


def _short(metric: str, value: float) -> str:
    return f"{value:.0%}" if metric.lower() in PERCENT_METRICS else f"{value:.3g}"


def _note(point: SweepPoint) -> str:
    return "\n".join(f"{name}: {cell}" for name, cell in zip(COLUMNS, _cells(point), strict=True))


COLUMNS = (
    *("method", "budget", "seed", "quality", "right after the cut", "dense", "MACs", "MACs kept"),
    *("parameters", "parameters kept", "latency", "latency kept"),
)


def _cells(point: SweepPoint) -> list[str]:
    return [
        point.method,
        point.budget,
        str(point.seed),
        f"{metric_value(point.metric, point.value)} {point.metric}",
        metric_value(point.metric, point.cut),
        metric_value(point.metric, point.dense),
        _at(quantity(point.macs), point.seconds),
        f"{point.macs_kept:.1%}",
        quantity(point.params),
        f"{point.params_kept:.1%}",
        "-" if point.latency_ms is None else _at(milliseconds(point.latency_ms), point.latency_seconds),
        "-"
        if point.latency_kept is None
        else f"{point.latency_kept:.1%}{' (unsteady)' * bool(point.unsteady)}",
    ]


def _at(cell: str, seconds: float | None) -> str:
    return cell if seconds is None else f"{cell} ({seconds:g} s)"


def _differences(points: Sequence[SweepPoint]) -> str:
    """Return the table of paired differences between methods, or nothing if no two can be compared."""
    found = method_differences(points)
    if not found:
        return ""
    table = _table(DIFFERENCE_COLUMNS, [difference_cells(each) for each in found])
    return (
        f"<h2>Differences between methods, on the same clips and seeds</h2>{table}<p>{escape(INTERVALS)}</p>"
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        written = (
            f"<{tag}{' class=text' if index < 2 else ''}>{escape(cell)}</{tag}>"
            for index, cell in enumerate(cells)
        )
        return f"<tr>{''.join(written)}</tr>"

    body = "".join(row(cells, "td") for cells in rows)
    return f"<div class=scroll><table><thead>{row(columns, 'th')}</thead><tbody>{body}</tbody></table></div>"
