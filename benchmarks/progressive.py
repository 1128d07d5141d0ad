"""One progressive run for four budgets beside four separate runs: accuracy by budget, and what each cost.

    python benchmarks/progressive.py --data PATH/TO/CORPORA --out out/methods --page docs/progressive.md

The separate runs are the HJ-Pruning-MAC cells of method_table.py (same folder: what is there is not run
again), all from the same dense model. Cost is in processor seconds: run it on a quiet machine.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean

import torch
from method_table import CONTROL, STUDIES, Cell, recipe_of, run_cell

from prune_ssl.cli.console import quiet_libraries, say
from prune_ssl.pipeline import run
from prune_ssl.recipes import Recipe, make_recipe
from prune_ssl.sweep import point_of

METHOD = "hj_mac"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--out", type=Path, default=Path("out/methods"))
    parser.add_argument("--study", choices=list(STUDIES), default="digits")
    parser.add_argument("--budgets", type=int, nargs="+", default=[60, 45, 30, 15])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    quiet_libraries()
    torch.set_num_threads(1)
    first = Cell(STUDIES[args.study], METHOD, args.budgets[0], args.seed, args.out / args.study)
    cells = [first.of(METHOD, percent) for percent in sorted(args.budgets, reverse=True)]
    for cell in (first.of(CONTROL, 100), *cells):
        if not cell.report.is_file():
            run_cell(cell, args.data, [])
    together = replace(first, method="progressive", percent=min(args.budgets))
    recipe = progressive(recipe_of(cells[-1], args.data, []), args.budgets, together.folder)
    if not together.report.is_file():
        start = time.process_time()
        run(recipe, overwrite=True, say=say)
        spent = {"core_seconds": time.process_time() - start}
        (together.folder / "cost.json").write_text(json.dumps(spent))
    text = table(cells, together)
    print(text)
    if args.page:
        command = "python benchmarks/progressive.py --data PATH/TO/CORPORA --page docs/progressive.md"
        head = "# One progressive run beside a run for each budget\n\nMade by"
        args.page.write_text(f"{head} `{command}` (digits, seed {args.seed}).\n\n{text}\n", encoding="utf-8")
    return 0


def progressive(recipe: Recipe, budgets: list[int], folder: Path) -> Recipe:
    """Return the recipe of a separate run with all budgets in it."""
    data = recipe.model_dump(mode="json")
    data["pruning"] |= {"budgets": [f"macs={each}%" for each in sorted(budgets, reverse=True)]}
    data["pruning"].pop("budget")
    return make_recipe(data | {"name": folder.name, "output": str(folder)})


def table(cells: list[Cell], together: Cell) -> str:
    lines = ["| budget | a run of its own | progressive | difference | MACs kept |", "|---|---|---|---|---|"]
    differences = []
    for cell in cells:
        last = cell.percent == together.percent
        path = together.folder / f"report{'' if last else f'-macs-{cell.percent}'}.json"
        own, shared = cell.point(), point_of(path, "", "", cell.seed)
        differences.append(100 * (shared.value - own.value))
        lines.append(
            f"| {cell.percent}% | {own.value:.1%} | {shared.value:.1%} | {differences[-1]:+.1f} | "
            f"{own.macs_kept:.1%}, {shared.macs_kept:.1%} |"
        )
    spent = [seconds(cell) for cell in cells]
    lines.append(
        f"\nMean difference {mean(differences):+.1f} points. Core seconds: {seconds(together):.0f} for the "
        f"progressive run, {mean(spent):.0f} for a run of its own (mean of {len(spent)}): "
        f"{seconds(together) / mean(spent):.2f} times one, {seconds(together) / sum(spent):.2f} of all."
    )
    return "\n".join(lines)


def seconds(cell: Cell) -> float:
    found: float = json.loads((cell.folder / "cost.json").read_text())["core_seconds"]
    return found


if __name__ == "__main__":
    raise SystemExit(main())
