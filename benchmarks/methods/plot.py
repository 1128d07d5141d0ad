"""The plot of a study: the metric against the MACs kept, a line for each method, with error bars."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure

COLOURS = (
    *("#2f7fd1", "#d9822b", "#3d9970", "#b0568f", "#8a7ad1", "#7a8b2f", "#c0392b", "#16a0a0"),
    *("#8c6d4f", "#e377c2", "#5b6573", "#c9a400"),
)
MARKERS = "os^Dv<>"
STYLE: dict[Any, Any] = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9.5,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "methods",  # the same file each time
}
APART = 0.15
"""The points of one budget are moved apart by so many percent of the MACs, so that bars can be seen."""


@dataclass(frozen=True)
class Point:
    """The mean of a method at a budget, in percent, and the half-length of its bar."""

    macs_kept: float
    value: float
    error: float


def plot_svg(
    lines: Mapping[str, Sequence[Point]], levels: Mapping[str, float], metric: str, first: str
) -> str:
    """Return the plot as SVG.

    Args:
        lines: The points of each method by its label.
        levels: Models that were not cut: a dashed line for each.
        metric: The label of the y axis.
        first: The method that is drawn with a bold line.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.2, 5.2), layout="constrained")
        axes: Any = figure.subplots()
        middle = (len(lines) - 1) / 2
        for index, (label, points) in enumerate(lines.items()):
            axes.errorbar(
                [100 * point.macs_kept + APART * (index - middle) for point in points],
                [point.value for point in points],
                yerr=[point.error for point in points],
                label=label,
                color=COLOURS[index % len(COLOURS)],
                marker=MARKERS[index % len(MARKERS)],
                linewidth=2.4 if label == first else 0.9,
                markersize=6 if label == first else 4.5,
                elinewidth=0.9,
                capsize=2,
            )
        for (label, level), style in zip(levels.items(), (":", "--"), strict=False):
            axes.axhline(level, color="#5d6670", linestyle=style, linewidth=0.9, label=label)
        axes.set(xlabel="MACs kept, %", ylabel=f"{metric}, %")
        axes.grid(axis="y", alpha=0.2)
        figure.legend(loc="outside lower center", ncols=3, fontsize=8.5)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"
