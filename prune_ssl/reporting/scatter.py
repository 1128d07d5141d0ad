"""A scatter plot as SVG without scripts: a shape and a colour for each series, intervals and links."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log10

COLOURS = (
    *("#2f7fd1", "#d9822b", "#3d9970", "#b0568f", "#8a7ad1", "#7a8b2f", "#c0392b", "#16a0a0"),
    *("#8c6d4f", "#e377c2", "#5b6573", "#c9a400"),
)
SHAPES = (
    "",  # a circle
    "-5,-5 5,-5 5,5 -5,5",
    "0,-6.5 6,4.5 -6,4.5",
    "0,-7 7,0 0,7 -7,0",
    "0,6.5 6,-4.5 -6,-4.5",
    "-2,-6 2,-6 2,-2 6,-2 6,2 2,2 2,6 -2,6 -2,2 -6,2 -6,-2 -2,-2",
    "0,-6.5 6.2,-2 3.8,5.3 -3.8,5.3 -6.2,-2",
)
"""The corners of each marker around its centre. There are other numbers of colours, so that pairs differ."""
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 340, 62, 28, 18, 44
LEGEND_COLUMNS, LEGEND_ROW, LEGEND_LEFT = 3, 18, 14
APART = 13.0
"""Markers that would lie closer than this many pixels are moved aside, with a line to their true place."""
MOST_NUMBERED = 60
STYLE = """
.dot { stroke: var(--page); stroke-width: 1.2; }
a:hover .dot, a:focus .dot, .dot:hover { stroke: var(--ink); stroke-width: 2; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
svg text.number { font-size: 10px; }
"""
FILE_STYLE = (
    "<style>.dot { stroke: #fff; stroke-width: 1.2 } text { fill: #5d6670; font: 12px sans-serif } "
    ".number { font-size: 10px }</style><rect width='100%' height='100%' fill='#fff'/>"
)


@dataclass(frozen=True)
class Dot:
    """One model in the plot."""

    x: float
    y: float
    series: str
    """The series, which has a shape and a colour of its own."""
    group: str = ""
    """The line of a series runs through the means of its groups, such as budgets."""
    low: float | None = None
    """The lower end of the interval of `y`."""
    high: float | None = None
    """The upper end of the interval of `y`."""
    name: str = ""
    """A short name, such as the number of a row of the table."""
    note: str = ""
    """The text on hovering."""
    link: str = ""
    """The address of its report. Empty: it has none."""


@dataclass(frozen=True)
class Frame:
    """The titles and ranges of the axes."""

    label: str
    """The name of the plot for readers that do not see it."""
    x_title: str
    x_percent: bool
    """Whether values of x are shown as percentages. Their axis then reaches at least to 100%."""
    y_percent: bool
    level: float | None = None
    """The value of y at which a dashed line is drawn, such as the dense model's."""
    level_note: str = ""


@dataclass(frozen=True)
class _Scale:
    """The mapping from values to places in the drawing."""

    low: float
    high: float
    widest: float

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * value / self.widest

    def y(self, value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (self.high - value) / (self.high - self.low)


def scatter_plot(
    dots: Sequence[Dot], frame: Frame, front: Sequence[tuple[float, float]] = (), standalone: bool = False
) -> str:
    """Return the plot as an `<svg>` element.

    Args:
        dots: The models; at least one.
        frame: The axes.
        front: The points that a broad band joins.
        standalone: Whether to draw black on white and without links, for a file of its own.
    """
    scale, styles = _scale_of(dots, frame), styles_of([dot.series for dot in dots])
    height = HEIGHT + LEGEND_ROW * -(-len(styles) // LEGEND_COLUMNS) + 10
    space = ' xmlns="http://www.w3.org/2000/svg" color="#1a1d21"' if standalone else ""
    parts = [
        f'<svg{space} viewBox="0 0 {WIDTH} {height}" role="group" aria-label="{escape(frame.label)}">',
        FILE_STYLE if standalone else "",
        *_grid(scale, frame),
    ]
    line = " ".join(f"{scale.x(x):.1f},{scale.y(y):.1f}" for x, y in front)
    parts.append(
        f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-opacity="0.1" stroke-width="9" '
        'stroke-linejoin="round" stroke-linecap="round"/>'
    )
    for series, (colour, _) in styles.items():
        parts.append(_line_of(scale, [dot for dot in dots if dot.series == series], colour))
    numbered = len(dots) <= MOST_NUMBERED
    for dot, place in zip(dots, _places(scale, dots), strict=True):
        parts += _marker(scale, dot, place, styles[dot.series], numbered, links=not standalone)
    return "".join([*parts, *_legend(styles), "</svg>"])


def styles_of(series: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the colour and the shape of each series, in order of appearance.

    >>> styles_of(["a", "b", "a"])["b"][0]
    '#d9822b'
    """
    return {
        name: (COLOURS[index % len(COLOURS)], SHAPES[index % len(SHAPES)])
        for index, name in enumerate(dict.fromkeys(series))
    }


def ticks(low: float, high: float) -> list[float]:
    """Return three to nine multiples of 1, 2 or 5 x 10^n within the range."""
    rough = (high - low) / 8
    size = 10 ** floor(log10(rough))
    step = size * next(each for each in (1, 2, 5, 10) if each * size >= rough)
    return [step * index for index in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def tick_labels(at: Sequence[float], percent: bool) -> list[str]:
    """Return the labels of ticks, with as many decimals as tell them apart.

    >>> tick_labels([0.081, 0.082], percent=True)
    ['8.1%', '8.2%']
    """
    for decimals in range(6):
        labels = [f"{value:.{decimals}%}" if percent else f"{value:.{decimals}f}" for value in at]
        if len(set(labels)) == len(labels):
            break
    return labels


def _scale_of(dots: Sequence[Dot], frame: Frame) -> _Scale:
    values = [value for dot in dots for value in (dot.y, dot.low, dot.high) if value is not None]
    values += [] if frame.level is None else [frame.level]
    low, high = min(values), max(values)
    margin = max(0.08 * (high - low), 0.01 * abs(high), 1e-6)
    widest = max(dot.x for dot in dots)
    return _Scale(low - margin, high + margin, max(1.0, widest) if frame.x_percent else 1.1 * widest or 1.0)


def _places(scale: _Scale, dots: Sequence[Dot]) -> list[tuple[float, float]]:
    """Return where each marker is drawn: at its place, or beside it if another marker is there."""
    placed: list[tuple[float, float]] = []
    for dot in dots:
        x, y = scale.x(dot.x), scale.y(dot.y)
        aside = (APART * (turn // 2 + turn % 2) * (1 if turn % 2 else -1) for turn in range(2 * len(dots)))
        free = (x + shift for shift in aside if _is_free(x + shift, y, placed))
        placed.append((next(free, x), y))
    return placed


def _is_free(x: float, y: float, placed: Sequence[tuple[float, float]]) -> bool:
    inside = LEFT <= x <= WIDTH - RIGHT / 2
    return inside and all((x - a) ** 2 + (y - b) ** 2 >= (APART - 0.01) ** 2 for a, b in placed)


def _marker(
    scale: _Scale,
    dot: Dot,
    place: tuple[float, float],
    style: tuple[str, str],
    numbered: bool,
    *,
    links: bool,
) -> Iterator[str]:
    """Yield the interval of a dot, the line to its true place if it was moved, and the marker itself."""
    (x, y), (colour, shape), true = place, style, scale.x(dot.x)
    if dot.low is not None and dot.high is not None:
        ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="{scale.y(dot.low):.1f}" y2="{scale.y(dot.high):.1f}"'
        yield f'<line class="interval" {ends} stroke="{colour}" stroke-opacity="0.6"/>'
    if abs(true - x) > 1:
        yield (
            f'<line class="aside" x1="{true:.1f}" x2="{x:.1f}" y1="{y:.1f}" y2="{y:.1f}" '
            'stroke="currentColor" stroke-opacity="0.5" stroke-dasharray="2 2"/>'
        )
    title = f"<title>{escape(dot.note or dot.name)}</title>"
    drawn = _shape(x, y, colour, shape, title)
    if links and dot.link:
        said = escape(f"report of {dot.name or dot.series}")
        drawn = f'<a href="{escape(dot.link)}" aria-label="{said}">{drawn}</a>'
    yield drawn
    if numbered and dot.name:
        yield f'<text class="number" x="{x + 7:.1f}" y="{y - 6:.1f}">{escape(dot.name)}</text>'


def _shape(x: float, y: float, colour: str, corners: str, inside: str = "", kind: str = "dot") -> str:
    if not corners:
        return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="5.5" fill="{colour}">{inside}</circle>'
    moved = f'transform="translate({x:.1f} {y:.1f})"'
    return f'<polygon class="{kind}" points="{corners}" {moved} fill="{colour}">{inside}</polygon>'


def _grid(scale: _Scale, frame: Frame) -> Iterator[str]:
    levels = ticks(scale.low, scale.high)
    for level, label in zip(levels, tick_labels(levels, frame.y_percent), strict=True):
        y = scale.y(level)
        yield (
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" '
            f'stroke-opacity="0.12"/><text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
        )
    across = ticks(0.0, scale.widest)
    for at, label in zip(across, tick_labels(across, frame.x_percent), strict=True):
        yield f'<text x="{scale.x(at):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{label}</text>'
    yield f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(frame.x_title)}</text>'
    if frame.level is not None:
        y = scale.y(frame.level)
        yield (
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" '
            f'stroke-dasharray="5 4" stroke-opacity="0.6"/><text x="{WIDTH - RIGHT}" y="{y - 5:.1f}" '
            f'text-anchor="end">{escape(frame.level_note)}</text>'
        )


def _line_of(scale: _Scale, dots: Sequence[Dot], colour: str) -> str:
    """Return the line through the means of the groups of one series."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for dot in dots:
        groups.setdefault(dot.group, []).append((scale.x(dot.x), scale.y(dot.y)))
    means = sorted(
        tuple(sum(part) / len(found) for part in zip(*found, strict=True)) for found in groups.values()
    )
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in means)
    return f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-opacity="0.55"/>'


def _legend(styles: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    for index, (series, (colour, shape)) in enumerate(styles.items()):
        x = LEGEND_LEFT + (WIDTH - LEGEND_LEFT) / LEGEND_COLUMNS * (index % LEGEND_COLUMNS)
        y = HEIGHT + 14 + LEGEND_ROW * (index // LEGEND_COLUMNS)
        yield _shape(x, y - 4, colour, shape, kind="key")
        yield f'<text x="{x + 12:.0f}" y="{y}">{escape(series)}</text>'
