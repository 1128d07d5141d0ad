"""The page of method_table.py: tables per study and budget, what HJ-Size keeps, the plot."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import mean

from prune_ssl.report.pareto import SweepPoint, pareto_html, pareto_svg


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
    """Return the methods at one budget, best mean first; the dense model's rows stand above."""
    control = study.results and [each for each in study.results if each.percent == 100]
    seeds = sorted({each.seed for each in study.results})
    head = ["method", "mean", *(f"seed {seed}" for seed in seeds), "after the cut", "MACs kept"]
    head += ["parameters kept", "core s"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    if control:
        dense = [each.point.dense or 0.0 for each in sorted(control, key=lambda each: each.seed)]
        lines.append(line("dense", dense, None, 1.0, 1.0, "-", len(seeds)))
        lines.append(row(labels[control[0].method], control, len(seeds)))
    found = {name: study.at(name, percent) for name in labels}
    whole = {name: cells for name, cells in found.items() if cells and cells[0].percent < 100}
    ranked = sorted(whole, key=lambda name: -mean(cell.point.value for cell in whole[name]))
    lines += [row(labels[name], whole[name], len(seeds)) for name in ranked]
    if ranked:
        best = mean(cell.point.value for cell in whole[ranked[0]])
        n = study.judged * len(whole[ranked[0]])
        error = 100 * sqrt(2 * best * (1 - best) / n)
        lines.append(
            f"\nOne standard error of a difference of two means (as if independent): {error:.1f} points."
        )
    return "\n".join(lines)


def row(label: str, cells: Sequence[Result], seeds: int) -> str:
    points = [cell.point for cell in sorted(cells, key=lambda each: each.seed)]
    cuts = [point.cut for point in points if point.cut is not None]
    return line(
        label,
        [point.value for point in points],
        mean(cuts) if cuts else None,
        mean(point.macs_kept for point in points),
        mean(point.params_kept for point in points),
        f"{mean(cell.core_seconds for cell in cells):.0f}",
        seeds,
    )


def line(
    label: str,
    values: Sequence[float],
    cut: float | None,
    macs: float,
    params: float,
    seconds: str,
    seeds: int,
) -> str:
    each = [f"{100 * value:.1f}" for value in values] + ["-"] * (seeds - len(values))
    after = "-" if cut is None else f"{100 * cut:.1f}"
    cells = [label, f"{100 * mean(values):.2f}", *each, after, f"{100 * macs:.1f}%", f"{100 * params:.1f}%"]
    return f"| {' | '.join([*cells, seconds])} |"


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
