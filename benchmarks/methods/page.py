"""The page of method_table.py, from the kept table alone: tables by study and budget, plots, settings."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from textwrap import fill

from methods.paired import FORMULA, Difference, paired_difference
from methods.plot import Point, plot_svg
from methods.results import Row, Table
from methods.studies import CONTROL, DENSE, GATES, METHODS, STUDIES, WHOLE, Study
from prune_ssl.writing import write_text

BySeed = Mapping[int, Row]
NAMES = {"accuracy": "accuracy", "wer": "WER", "eer": "EER"}
SAID = f"""Every row starts from the dense model of its seed and trains for the same number of steps more,
with the same batches, learning rates and augmentation: gate training or cuts and recovery together, and for
the control the dense model alone. Settings were chosen on validation clips; the test split was judged once.
The figures are those of the test split in percent. MACs are counted as the reports count them.

"Gates ahead by" is the mean over seeds of the difference to gates on the same clips, in points: positive
where gates are better. The standard error behind ± is over speakers and seeds, and the next column has that
over clips alone. {FORMULA} A trial of verification goes with either of its speakers. Core minutes are
processor time of one cell with loading and judging, on one thread.
"""


def write_page(path: Path, command: str, table: Table) -> None:
    """Write the page, and beside it a plot for each study that has rows of a method."""
    parts = [
        f"# Methods compared\n\nMade by `{command}`\nfrom `benchmarks/results/methods.jsonl`.\n",
        *map(_wrapped, SAID.split("\n\n")),
    ]
    for study in STUDIES.values():
        if study.name in table.judged:
            drawing = study_plot(table, study)
            picture = path.with_name(f"{path.stem}_{study.name}.svg")
            if drawing:
                write_text(picture, drawing)
            parts.append(study_text(table, study, picture.name if drawing else ""))
    parts.append(_methods(table))
    parts.append(f"Made with {_versions(table)}.\n")
    write_text(path, "\n".join(parts))


def _wrapped(text: str) -> str:
    return fill(" ".join(text.split()), 110, break_on_hyphens=False) + "\n"


def study_text(table: Table, study: Study, picture: str = "") -> str:
    """Return the section of a study."""
    if study.name not in table.judged:
        return f"## {study.name}\n\nNo cell was run.\n"
    name, better = NAMES[study.metric], "lower" if study.lower_is_better else "higher"
    parts = [f"## {study.name}: {name}, {better} is better\n\n{_wrapped(study.setting)}"]
    if picture:
        parts.append(
            f"![{name} against MACs kept]({picture})\n\nThe bars are one standard error of the difference to "
            "gates, upwards and downwards. Points of one budget are moved apart.\n"
        )
    budgets = sorted({row.percent for row in _rows(table, study)} - {WHOLE}, reverse=True)
    for percent in budgets:
        parts.append(f"### {percent}% of the MACs\n\n{budget_table(table, study, percent)}\n")
    if not budgets:
        parts.append(budget_table(table, study, WHOLE) + "\n")
    if lines := _gate_lines(table, study, budgets):
        parts.append(f"### Where gate training ended\n\n{lines}\n")
    return "\n".join(parts)


def budget_table(table: Table, study: Study, percent: int) -> str:
    """Return the methods at one budget: the dense model and the control, then by their mean.

    Methods that lack a seed come last, with the mean over the seeds that they have in brackets.
    """
    seeds = sorted({row.seed for row in _rows(table, study)})
    head = ["method", "mean", *(f"seed {seed}" for seed in seeds), "gates ahead by", "over clips alone"]
    head += ["after the cut", "MACs kept", "parameters kept", "core min", "wall min"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    gates = table.at(study.name, GATES, percent)
    for name in (DENSE, CONTROL):
        if found := table.at(study.name, name, WHOLE):
            lines.append(_line(table, study, found, seeds, gates))
    sign = 1 if study.lower_is_better else -1
    others = [name for name in METHODS if name not in (DENSE, CONTROL)]
    by_method = {name: found for name in others if (found := table.at(study.name, name, percent))}
    ranked = sorted(
        by_method.values(), key=lambda found: (len(found) < len(seeds), sign * _mean(found, "value"))
    )
    return "\n".join(lines + [_line(table, study, found, seeds, gates) for found in ranked])


def _line(table: Table, study: Study, found: BySeed, seeds: Sequence[int], gates: BySeed) -> str:
    rows = list(found.values())
    average = f"{100 * _mean(found, 'value'):.2f}"
    cuts = [row.cut for row in rows if row.cut is not None and row.percent < WHOLE]
    cells = [
        f"**{METHODS[rows[0].method].label}**" if rows[0].method == GATES else METHODS[rows[0].method].label,
        average if len(found) == len(seeds) else f"({average})",
        *(f"{100 * found[seed].value:.1f}" if seed in found else "-" for seed in seeds),
        *_ahead(difference_to_gates(table, study, found, gates)),
        f"{100 * mean(cuts):.1f}" if cuts else "-",
        f"{100 * _mean(found, 'macs_kept'):.1f}%",
        f"{100 * _mean(found, 'params_kept'):.1f}%",
        _minutes(row.core_seconds for row in rows),
        _minutes(row.wall_seconds for row in rows),
    ]
    return f"| {' | '.join(cells)} |"


def difference_to_gates(table: Table, study: Study, found: BySeed, gates: BySeed) -> Difference | None:
    """Return how far gates are ahead of a method, or None for gates and where no seed has both."""
    if found == gates or not found.keys() & gates.keys():
        return None
    return paired_difference(table.judged[study.name], gates, found)


def _ahead(found: Difference | None) -> tuple[str, str]:
    if found is None:
        return "-", "-"
    return f"{100 * found.ahead:+.1f} ± {100 * found.error:.1f}", f"± {100 * found.over_clips:.1f}"


def _mean(found: BySeed, name: str) -> float:
    return float(mean(getattr(row, name) for row in found.values()))


def _minutes(seconds: Iterable[float | None]) -> str:
    known = [each for each in seconds if each is not None]
    return f"{mean(known) / 60:.1f}" if known else "-"


def _rows(table: Table, study: Study) -> list[Row]:
    return [row for row in table.rows.values() if row.study == study.name]


def _gate_lines(table: Table, study: Study, budgets: Sequence[int]) -> str:
    """Return the expected cost at the end of gate training beside that of the open gates, by method."""
    head = "| method | budget | expected MACs | of the open gates | expected less open | largest lag |"
    lines = [head, "|---|---|---|---|---|---|"]
    for percent in budgets:
        for name in METHODS:
            rows = [row for row in table.at(study.name, name, percent).values() if row.gates]
            if METHODS[name].budget != "macs" or not rows:
                continue
            known = [row.gates for row in rows if "open" in row.gates]
            expected = mean(row.gates["expected"] for row in rows)
            opened = f"{100 * mean(each['open'] for each in known):.2f}%" if known else "-"
            phantom = mean(each["expected"] - each["open"] for each in known) if known else None
            shown = "-" if phantom is None else f"{100 * phantom:+.2f} points"
            lag = max(row.gates["lag"] for row in rows)
            lines.append(
                f"| {METHODS[name].label} | {percent}% | {100 * expected:.2f}% | {opened} | {shown} | "
                f"{100 * lag:.1f} points |"
            )
    return "\n".join(lines) if len(lines) > 2 else ""


def study_plot(table: Table, study: Study) -> str:
    """Return the plot of a study as SVG, or nothing if no method has rows."""
    lines: dict[str, list[Point]] = {}
    for name, method in METHODS.items():
        for percent in sorted(study.budgets):
            found = table.at(study.name, name, percent)
            if name in (DENSE, CONTROL) or not found:
                continue
            gates = table.at(study.name, GATES, percent)
            difference = difference_to_gates(table, study, found, gates)
            error = 0.0 if difference is None else 100 * difference.error
            point = Point(_mean(found, "macs_kept"), 100 * _mean(found, "value"), error)
            lines.setdefault(method.label, []).append(point)
    if not lines:
        return ""
    whole = {name: table.at(study.name, name, WHOLE) for name in (DENSE, CONTROL)}
    levels = {METHODS[name].label: 100 * _mean(found, "value") for name, found in whole.items() if found}
    return plot_svg(lines, levels, NAMES[study.metric], METHODS[GATES].label)


def _methods(table: Table) -> str:
    run = {row.method for row in table.rows.values()}
    rows = [f"| {each.label} | {each.about} |" for name, each in METHODS.items() if name in run]
    return "\n".join(["## The methods\n", "| method | what was run |", "|---|---|", *rows]) + "\n"


def _versions(table: Table) -> str:
    found: dict[str, set[str]] = {}
    for row in table.rows.values():
        for name, number in row.versions.items():
            found.setdefault(name, set()).add(number)
    return "; ".join(f"{name} {', '.join(sorted(numbers))}" for name, numbers in sorted(found.items()))
