"""The page of method_table.py: tables per study and budget, what HJ-Size keeps, the plot."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import mean

from prune_ssl.reporting.pareto import pareto_html, pareto_svg
from prune_ssl.reporting.sweep_point import SweepPoint


@dataclass(frozen=True)
class Result:
    """One finished cell."""

    method: str
    percent: int
    seed: int
    point: SweepPoint
    core_seconds: float


@dataclass(frozen=True)
class StudyResults:
    """One study's finished cells, and how it was run."""

    name: str
    setting: str
    judged: int
    """Clips that each model was judged on."""
    results: Sequence[Result]

    def at(self, method: str, percent: int) -> list[Result]:
        found = [each for each in self.results if (each.method, each.percent) == (method, percent)]
        return sorted(found, key=lambda each: each.seed)


def write_page(
    path: Path,
    command: str,
    studies: Iterable[StudyResults],
    labels: Mapping[str, str],
    notes: Mapping[str, str],
    said: str,
) -> None:
    """Write the page, and beside it an SVG per study; the interactive HTML goes where the runs are."""
    parts = [f"# Methods compared\n\nMade by `{command}`.\n", said]
    for study in studies:
        if not study.results:
            continue
        parts.append(f"## {study.name}\n\n{study.setting}\n")
        if any(each.percent < 100 for each in study.results):
            picture = path.with_name(f"{path.stem}_{study.name}.svg")
            points = [each.point for each in study.results if each.percent < 100]
            picture.write_text(pareto_svg(points, "macs"), encoding="utf-8")
            parts.append(f"![Accuracy against MACs kept]({picture.name})\n")
        for percent in sorted({each.percent for each in study.results} - {100}, reverse=True):
            parts.append(f"### {percent}% of MACs\n\n{table(study, percent, labels)}\n")
        if sizes := size_table(study):
            parts.append(f"### The same parameters by MACs and by size\n\n{sizes}\n")
    rows = "\n".join(f"| {labels[name]} | {note} |" for name, note in notes.items())
    parts.append(f"## The methods\n\n| method | what was run |\n|---|---|\n{rows}\n")
    path.write_text("\n".join(parts), encoding="utf-8")


def write_sweep_page(folder: Path, study: StudyResults) -> None:
    """Write the sweep's own page of a study."""
    points = [each.point for each in study.results if each.percent < 100]
    if points:
        text = pareto_html(points, f"Methods compared on {study.name}")
        (folder / "pareto.html").write_text(text, encoding="utf-8")


def table(study: StudyResults, percent: int, labels: Mapping[str, str]) -> str:
    """Return the methods at one budget: the dense model's rows, then by mean; those that lack a seed last."""
    seeds = sorted({each.seed for each in study.results})
    head = ["method", "mean", *(f"seed {seed}" for seed in seeds), "after the cut", "MACs kept"]
    head += ["parameters kept", "core s"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    control = [each for each in study.results if each.percent == 100]
    if control:
        dense = {each.seed: each.point.dense or 0.0 for each in control}
        lines.append(line("dense", dense, seeds, "-", 1.0, 1.0, "-"))
        lines.append(row(labels[control[0].method], control, seeds))
    found = {name: cells for name in labels if (cells := study.at(name, percent)) and percent < 100}

    def rank(name: str) -> tuple[bool, float]:
        cells = found[name]
        return len(cells) < len(seeds), -mean(cell.point.value for cell in cells)

    lines += [row(labels[name], found[name], seeds) for name in sorted(found, key=rank)]
    means = [mean(cell.point.value for cell in cells) for cells in found.values() if len(cells) == len(seeds)]
    if means:
        best, judged = max(means), study.judged * len(seeds)
        error = 100 * sqrt(2 * best * (1 - best) / judged)
        lines.append(
            f"\nOne standard error of a difference of two means (as if independent): {error:.1f} points."
        )
    return "\n".join(lines)


def row(label: str, cells: Sequence[Result], seeds: Sequence[int]) -> str:
    points = [cell.point for cell in cells]
    cuts = [point.cut for point in points if point.cut is not None]
    return line(
        label,
        {cell.seed: cell.point.value for cell in cells},
        seeds,
        f"{100 * mean(cuts):.1f}" if cuts else "-",
        mean(point.macs_kept for point in points),
        mean(point.params_kept for point in points),
        f"{mean(cell.core_seconds for cell in cells):.0f}",
    )


def line(
    label: str,
    values: Mapping[int, float],
    seeds: Sequence[int],
    after: str,
    macs: float,
    params: float,
    seconds: str,
) -> str:
    whole = len(values) == len(seeds)
    each = [f"{100 * values[seed]:.1f}" if seed in values else "not run" for seed in seeds]
    average = f"{100 * mean(values.values()):.2f}" if whole else "-"
    cells = [label, average, *each, after, f"{100 * macs:.1f}%", f"{100 * params:.1f}%", seconds]
    return f"| {' | '.join(cells)} |"


def size_table(study: StudyResults) -> str:
    """Return HJ-Pruning-MAC beside -Size with as many parameters, pair by pair."""
    head = "| budget | seed | parameters: MAC, Size | MACs kept: MAC, Size | accuracy: MAC, Size |"
    lines = [head, "|---|---|---|---|---|"]
    for percent in sorted({each.percent for each in study.results} - {100}, reverse=True):
        sizes = {each.seed: each.point for each in study.at("hj_size", percent)}
        for each in study.at("hj_mac", percent):
            size = sizes.get(each.seed)
            if size is not None:
                one = each.point
                lines.append(
                    f"| {percent}% | {each.seed} | {one.params:,}, {size.params:,} | "
                    f"{one.macs_kept:.1%}, {size.macs_kept:.1%} | {one.value:.1%}, {size.value:.1%} |"
                )
    return "\n".join(lines) if len(lines) > 2 else ""
