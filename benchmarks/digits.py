"""Accuracy of the digits recipe by budget and seed: dense, right after the cut, recovered.

    python benchmarks/digits.py DATA --budgets 50 25 --seeds 0 1 2 --out out/digits

DATA is an audiofolder such as FSDD's. A dense model is trained for each seed and pruned to every budget. Runs
that have a report are not repeated. Each dense model and each budget takes about 5 minutes on a core.
"""

import argparse
import json
from pathlib import Path
from statistics import mean

import torch
from rich.console import Console
from rich.table import Table

from prune_ssl.cli.console import quiet_libraries, say
from prune_ssl.errors import PruneError
from prune_ssl.pipeline import run
from prune_ssl.recipes import load_recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "ks_digits_hj_mac.yaml"


def run_all(data: str, budgets: list[int], seeds: list[int], out: Path) -> None:
    for seed in seeds:
        dense: Path | None = None
        for budget in budgets:
            folder = out / f"s{seed}-{budget}"
            if not (folder / "report.json").exists():
                overrides = [
                    f"data.path={data}",
                    f"seed={seed}",
                    f"pruning.budget=macs={budget}%",
                    f"output={folder}",
                ]
                if dense is not None:
                    overrides += [f"model.name={dense}", "dense=null"]
                run(load_recipe(RECIPE, overrides), overwrite=True, say=say)
            dense = dense or folder / "dense"


def kept(report: dict, unit: str) -> float:
    small, dense = (
        sum(part[unit] for part in report[name]["sections"].values()) for name in ("model", "baseline")
    )
    return 100 * small / dense


def table(budgets: list[int], seeds: list[int], out: Path) -> Table:
    shown = Table(
        title="Digits: test accuracy in % (one column per seed, then the mean)", title_justify="left"
    )
    for column in ("budget", "stage", *map(str, seeds), "mean", "MACs kept", "parameters kept"):
        shown.add_column(column, justify="right")
    for budget in budgets:
        reports = [json.loads((out / f"s{seed}-{budget}" / "report.json").read_text()) for seed in seeds]
        for stage in ("dense", "cut", "recovered"):
            values = [100 * report["results"][stage]["accuracy"] for report in reports]
            costs = [f"{mean(kept(report, unit) for report in reports):.2f}%" for unit in ("macs", "params")]
            shown.add_row(
                f"macs={budget}%",
                stage,
                *(f"{value:.1f}" for value in values),
                f"{mean(values):.2f}",
                *(costs if stage != "dense" else ["100%", "100%"]),
            )
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", help="audiofolder with train, validation and test")
    parser.add_argument(
        "--budgets", type=int, nargs="+", default=[50, 25], help="percent of the dense MACs to keep"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out/digits"))
    args = parser.parse_args()
    quiet_libraries()
    torch.set_num_threads(args.threads)
    try:
        run_all(args.data, args.budgets, args.seeds, args.out)
    except PruneError as error:
        parser.error(str(error))
    Console().print(table(args.budgets, args.seeds, args.out))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
