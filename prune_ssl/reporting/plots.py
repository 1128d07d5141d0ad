"""The plots of a report as SVG text: MACs by section, kept units, expected cost and target, losses."""

import io
import re
from collections.abc import Callable
from itertools import cycle
from typing import Any

import matplotlib
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from prune_ssl.reporting.formatting import quantity
from prune_ssl.reporting.model import ReportData

DENSE, SMALL = "#9aa5b1", "#2f7fd1"
"""Grey for the dense model and blue for the pruned one. Both are readable on white and on near-black."""

_OTHERS = ("#d9822b", "#3d9970", "#b0568f", "#8a7ad1", "#7a8b2f")
"""The colours of further lines."""

_INK = "#010203"
"""A placeholder for the text colour. Nothing else has this colour, so it can be replaced after drawing."""

_STYLE: dict[Any, Any] = {  # matplotlib types each of its 300 keys
    "font.size": 9.5,
    "font.family": "sans-serif",
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "grid.alpha": 0.15,
    "grid.color": _INK,
    "legend.frameon": False,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "svg.fonttype": "path",
}

_KIND_TITLES = {
    "conv": "conv channels",
    "heads": "attention heads",
    "ffn": "FFN neurons",
    "hidden": "hidden units",
    "head_dim": "dimensions of a head",
    "block": "whole blocks",
    "layer": "whole layers",
}


def draw(data: ReportData, name: str, standalone: bool = False) -> str:
    """Return one plot as an `<svg>` element.

    Args:
        data: The report's data.
        name: A key of PLOTS.
        standalone: Whether to draw black on white, for a file of its own. False takes the text colour and the
            background of the surrounding page.
    """
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": f"prune_ssl-{name}"}):
        figure = PLOTS[name](data)
        buffer = io.StringIO()
        # No date, so that the same data gives the same bytes.
        figure.savefig(buffer, format="svg", transparent=not standalone, metadata={"Date": None})
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    # Ids are unique within one figure only, and a page has several figures.
    drawing = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{name}-", drawing)
    drawing = drawing.replace("<svg", f'<svg role="img" aria-label="{CAPTIONS[name]}"', 1)
    return drawing.replace(_INK, "#1a1d21" if standalone else "currentColor").strip()


def _sections_figure(data: ReportData) -> Figure:
    dense, small = data.baseline, data.model
    names = list(dict.fromkeys([*(dense.sections if dense else {}), *small.sections]))[::-1]
    figure = Figure(figsize=(7.2, 0.9 + 0.5 * len(names)), layout="constrained")
    axes = figure.subplots()
    series = [(data.made if dense else "model", small, SMALL)] + ([("dense", dense, DENSE)] if dense else [])
    height = 0.8 / len(series)
    for index, (label, facts, colour) in enumerate(series):
        macs = [facts.sections[name].macs if name in facts.sections else 0 for name in names]
        positions = [row - 0.4 + height * (index + 0.5) for row in range(len(names))]
        bars = axes.barh(positions, macs, height * 0.92, color=colour, label=label)
        axes.bar_label(bars, [quantity(value) for value in macs], padding=3, fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.set_xlabel(f"MACs at {data.reference_seconds:g} s of audio")
    axes.margins(x=0.12)
    axes.tick_params(axis="y", length=0)
    axes.legend(*_reversed_legend(axes), loc="lower right")
    return figure


def _reversed_legend(axes: Axes) -> tuple[list[Artist], list[str]]:
    """Return the legend's entries in the order of the bars, from top to bottom."""
    handles, labels = axes.get_legend_handles_labels()
    return handles[::-1], labels[::-1]


def _units_figure(data: ReportData) -> Figure:
    whole = (data.baseline or data.model).groups
    kept_of = {name: data.model.groups[name].size if name in data.model.groups else 0 for name in whole}
    cut = dict.fromkeys(group.kind for name, group in whole.items() if kept_of[name] < group.size)
    kinds = list(cut or dict.fromkeys(group.kind for group in whole.values() if group.size > 1))
    figure = Figure(figsize=(7.2, 1.75 * len(kinds)), layout="constrained")
    panels = figure.subplots(len(kinds), 1, squeeze=False)[:, 0]
    for axes, kind in zip(panels, kinds, strict=True):
        names = [name for name, group in whole.items() if group.kind == kind]
        labels = [_layer_label(name, kind) for name in names]
        kept = [kept_of[name] for name in names]
        rows = range(len(names))
        axes.bar(rows, [whole[name].size for name in names], 0.8, color=DENSE, alpha=0.4, label="dense")
        axes.bar(rows, kept, 0.8, color=SMALL, label="kept")
        if len(names) <= 16:
            for row, count in zip(rows, kept, strict=True):
                axes.annotate(
                    str(count), (row, count), (0, 2), textcoords="offset points", ha="center", fontsize=7.5
                )
        axes.set_xticks(rows, labels, rotation=90 if kind == "block" else 0)
        axes.set_title(_KIND_TITLES.get(kind, kind))
        axes.tick_params(axis="x", length=0)
        axes.margins(x=0.01, y=0.15)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    figure.supxlabel("layer", fontsize=9.5)
    return figure


def _layer_label(group: str, kind: str) -> str:
    """Return the layer number of a group (for a block also its name), or the name if it has no number."""
    found = re.search(r"\d+", group)
    if found is None:
        return group
    return f"{found.group()} {group.rpartition('.')[2]}" if kind == "block" else found.group()


def _budget_figure(data: ReportData) -> Figure:
    figure = Figure(figsize=(7.2, 2.8), layout="constrained")
    axes = figure.subplots()
    expected = [(record.step, record.expected) for record in data.history if record.expected is not None]
    target = [(record.step, record.target) for record in data.history if record.target is not None]
    kept = dict.fromkeys(name for record in data.history for name in record.keeps)
    for section, colour in zip(kept, cycle(_OTHERS)):
        points = [(record.step, record.keeps[section]) for record in data.history if section in record.keeps]
        axes.plot(*zip(*points, strict=True), linewidth=1.4, linestyle=":", color=colour, label=section)
    if target:
        axes.plot(*zip(*target, strict=True), color=DENSE, linewidth=1.6, linestyle="--", label="target")
    if expected:
        axes.plot(*zip(*expected, strict=True), color=SMALL, linewidth=1.8, label="expected")
    axes.set_xlabel("step")
    axes.set_ylabel("kept, of the dense cost")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylim(0, 1.05)
    axes.grid(True)
    figure.legend(loc="outside upper right", ncols=4, fontsize=8)
    return figure


def _losses_figure(data: ReportData) -> Figure:
    figure = Figure(figsize=(7.2, 2.8), layout="constrained")
    axes = figure.subplots()
    before = 0
    for (phase, records), colour in zip(data.phases.items(), cycle((DENSE, SMALL, *_OTHERS))):
        points = [(before + record.step, record.loss) for record in records if record.loss is not None]
        axes.plot(*zip(*points, strict=True), linewidth=1.6, color=colour, label=phase)
        before += records[-1].step
    axes.set_xlabel("step of the run")
    axes.set_ylabel("training loss")
    axes.margins(x=0.01)
    axes.grid(True)
    figure.legend(loc="outside upper right", ncols=4, fontsize=8)
    return figure


PLOTS: dict[str, Callable[[ReportData], Figure]] = {
    "sections": _sections_figure,
    "units": _units_figure,
    "budget": _budget_figure,
    "losses": _losses_figure,
}
"""The function that draws each plot."""

CAPTIONS = {
    "sections": "MACs by section",
    "units": "Kept units per layer, for each kind that lost any; grey is the dense model",
    "budget": "Expected cost and its target; dotted lines show the share that each kind of unit keeps",
    "losses": "Training loss of each phase, with terms of its own such as distillation or the penalty",
}
