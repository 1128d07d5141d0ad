"""Draw how gates close: cost against its target, shares kept by kind, and losses beside other cuts.

    python benchmarks/gates_curves.py docs/learned_gates.svg

The curves are those of runs in benchmarks/results/gates_curves.jsonl, which docs/learned_gates.md describes.
"""

import argparse
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from methods.plot import COLOURS, STYLE

ROWS = Path(__file__).parent / "results" / "gates_curves.jsonl"
LOW = "12%"
SPREAD = 5
"""Losses are means of so many neighbours, since one batch says little."""
Row = dict[str, Any]


def steps_of(row: Row) -> list[int]:
    """Return the steps of a run, those of recovery after those with gates."""
    gates = max(step for step, phase in zip(row["steps"], row["phase"], strict=True) if phase == "pruning")
    return [
        step + (gates if phase == "recovery" else 0)
        for step, phase in zip(row["steps"], row["phase"], strict=True)
    ]


def with_gates(row: Row, values: Sequence[float | None]) -> tuple[list[int], list[float]]:
    """Return the steps at which a value was logged while gates trained, and the values in percent."""
    shown = [
        (step, 100 * value) for step, value in zip(row["steps"], values, strict=False) if value is not None
    ]
    return [step for step, _ in shown], [value for _, value in shown]


def smooth(values: Sequence[float]) -> list[float]:
    """Return running means."""
    near = [values[max(0, at - SPREAD // 2) : at + SPREAD // 2 + 1] for at in range(len(values))]
    return [sum(each) / len(each) for each in near]


def draw_costs(axes: Any, rows: Sequence[Row]) -> None:
    for colour, row in zip(COLOURS, (row for row in rows if row["what"].startswith("gates")), strict=False):
        label = row["budget"] + row["what"].removeprefix("gates")
        axes.plot(*with_gates(row, row["target"]), color=colour, linestyle=":", linewidth=1)
        axes.plot(*with_gates(row, row["expected"]), color=colour, label=label)
        axes.plot(*with_gates(row, row["open"]), color=colour, linestyle="--", linewidth=0.9)
    axes.set(title="cost: expected (line), target (dots), open (dashes)", ylabel="MACs, %", ylim=(0, 100))
    axes.legend(fontsize=8)


def draw_kinds(axes: Any, row: Row) -> None:
    for colour, (kind, shares) in zip(COLOURS, row["keeps"].items(), strict=False):
        axes.plot(*with_gates(row, shares), color=colour, label=kind)
    axes.set(title=f"units kept by kind, {row['budget']}", ylabel="units, %", ylim=(0, 100))
    axes.legend(fontsize=8)


def draw_losses(axes: Any, rows: Sequence[Row]) -> None:
    for colour, row in zip(COLOURS, rows, strict=False):
        axes.plot(steps_of(row), smooth(row["loss"]), color=colour, label=row["what"], linewidth=1.2)
    axes.set(title=f"training loss, {rows[0]['budget']}", xlabel="step", ylim=(0, 4))
    axes.legend(fontsize=8)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="the SVG file to write")
    out: Path = parser.parse_args().out
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()]
    low = [row for row in rows if row["budget"] == LOW and not row["what"].endswith("before")]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.2, 9.6), layout="constrained")
        costs, kinds, losses = figure.subplots(3)
        draw_costs(costs, rows)
        draw_kinds(kinds, low[0])
        draw_losses(losses, low)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    out.write_text("\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n")


if __name__ == "__main__":
    main()
