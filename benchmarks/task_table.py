"""Every task on small real corpora: a dense model from scratch, pruned; metric, interval, MACs, latency.

    PRUNE_SSL_DATA=PATH/TO/CORPORA python benchmarks/task_table.py --into docs/tasks_measured.md

For each task a dense model is trained by its recipe, and pruned from there to every budget. Runs that have
a report already are not repeated, a dense model that was trained is not trained again, and the table holds
what is finished, so that it can be stopped and called again. Judged on the test split; it was used for
no choice of settings.
"""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from prune_ssl.cli.console import quiet_libraries, say
from prune_ssl.errors import PruneError
from prune_ssl.pipeline import run
from prune_ssl.recipes import load_recipe

RECIPES = Path(__file__).parents[1] / "recipes"


@dataclass(frozen=True)
class Metric:
    key: str
    words: str
    error: bool = False


@dataclass(frozen=True)
class Case:
    """One task: its recipe, its corpus, what it is judged by, and the budgets."""

    words: str
    recipe: str
    corpus: str
    metrics: tuple[Metric, ...]
    budgets: tuple[str, ...] = ("macs=50%", "macs=30%")
    start: str | None = None
    """The task whose dense model its own starts from; it comes before."""


ACCURACY = Metric("accuracy", "accuracy")
EER = Metric("eer", "EER", error=True)
CASES = {
    "keywords": Case("keywords, Arabic", "ks_arabic_hj_mac", "arabic_keywords", (ACCURACY,)),
    "wake_words": Case("wake words", "ks_wake_words_hj_mac", "wake_words", (ACCURACY,)),
    "speakers": Case("speaker verification, AN4", "sv_an4_hj_mac", "an4_asr", (EER,)),
    "joint": Case(
        "keywords and speakers jointly, Arabic",
        "joint_arabic_hj_size",
        "arabic_keywords",
        (ACCURACY, EER),
        ("params=25%", "macs=50%", "macs=30%"),
    ),
    "speech": Case(
        "speech recognition, AN4", "asr_an4_hj_mac", "an4_asr", (Metric("wer", "WER", error=True),)
    ),
    "slots": Case(
        "slots, coffee orders, from the AN4 recogniser",
        "slots_coffee_hj_mac",
        "coffee_intents",
        (Metric("f1", "F1"), ACCURACY),
        start="speech",
    ),
}


def folder_of(out: Path, name: str, seed: int, budget: str) -> Path:
    return out / f"{name}-s{seed}" / budget.replace("=", "-").rstrip("%")


def run_case(name: str, index: int, data: Path, seed: int, out: Path) -> None:
    """Prune a task's dense model to its budget of that index; with the first the dense model is trained."""
    case = CASES[name]
    first, budget = case.budgets[0], case.budgets[index]
    folder = folder_of(out, name, seed, budget)
    if (folder / "report.json").exists():
        return
    path = RECIPES / f"{case.recipe}.yaml"
    overrides = [
        f"data.path={data / case.corpus}",
        f"seed={seed}",
        f"pruning.budget={budget}",
        f"report.seconds=[{load_recipe(path).pruning.seconds}]",
        f"output={folder}",
    ]
    if case.start is not None:
        start = folder_of(out, case.start, seed, CASES[case.start].budgets[0]) / "dense"
        overrides.append(f"model.name={start}")
    if index:
        overrides += [f"model.name={folder_of(out, name, seed, first) / 'dense'}", "dense=null"]
    run(load_recipe(path, overrides), say=say, resume=True)


def rows(name: str, seed: int, out: Path) -> list[list[str]]:
    case, found = CASES[name], []
    for budget in case.budgets:
        path = folder_of(out, name, seed, budget) / "report.json"
        if not path.exists():
            continue
        report = json.loads(path.read_text())
        if not found:
            found.append(row(case, "dense", report, "baseline", "dense"))
        found.append(row(case, f"`{budget}`", report, "model", "recovered"))
    return found


def row(case: Case, label: str, report: dict[str, Any], side: str, stage: str) -> list[str]:
    measurement = report[side]["measurement"]
    latency = measurement["latency"][0]
    # Each run times its model and the dense one in turns: rows of different runs cannot be compared.
    dense_ms = report["baseline"]["measurement"]["latency"][0]["median_ms"]
    beside = "" if side == "baseline" else f" (dense beside it: {dense_ms:.2f})"
    return [
        case.words,
        label,
        "; ".join(shown(metric, report["results"][stage]) for metric in case.metrics),
        f"{next(iter(measurement['macs'].values())) / 1e6:.2f} M ({latency['seconds']:g} s)",
        f"{measurement['params'] / 1e3:.0f} k",
        f"{latency['median_ms']:.2f} ms{beside}",
    ]


def shown(metric: Metric, results: dict[str, float]) -> str:
    value, low, high = (100 * results[metric.key + end] for end in ("", "_low", "_high"))
    return f"{metric.words} {value:.1f} ({low:.1f} to {high:.1f})"


def verdict(name: str, seed: int, out: Path) -> str | None:
    """Say whether `macs=50%` is worse than dense by more than the dense model's interval."""
    case = CASES[name]
    path = folder_of(out, name, seed, "macs=50%") / "report.json"
    if not path.exists():
        return None
    results, words = json.loads(path.read_text())["results"], []
    for metric in case.metrics:
        dense, small = results["dense"], results["recovered"]
        worse = (small[metric.key] - dense[metric.key]) * (1 if metric.error else -1)
        edge = abs(dense[metric.key] - dense[f"{metric.key}_{'high' if metric.error else 'low'}"])
        verdict = "within" if worse <= edge else "beyond"
        words.append(
            f"{metric.words} {100 * abs(worse):.1f} points {'worse' if worse > 0 else 'better'}"
            if worse
            else f"{metric.words} equal"
        )
        words[-1] += f", {verdict} the dense model's interval"
    return f"- {case.words}, half of the MACs: {'; '.join(words)}."


HEADER = ("task", "model", "metric in % (95% interval)", "MACs", "parameters", "latency, 1 thread")
BY_SEED = ("task", "budget", "metric, %", "dense", "pruned", "mean")


def by_seed(name: str, seeds: list[int], out: Path) -> list[list[str]]:
    """Return a row for each metric and budget of a task that has more than one seed."""
    case, found = CASES[name], []
    for budget in case.budgets:
        paths = [folder_of(out, name, seed, budget) / "report.json" for seed in seeds]
        results = [json.loads(path.read_text())["results"] for path in paths if path.exists()]
        for metric in case.metrics if len(results) > 1 else ():
            dense, small = (
                [100 * result[stage][metric.key] for result in results] for stage in ("dense", "recovered")
            )
            changes = [after - before for before, after in zip(dense, small, strict=True)]
            error = stdev(changes) / len(changes) ** 0.5
            found.append(
                [
                    case.words,
                    f"`{budget}`",
                    metric.words,
                    ", ".join(f"{each:.1f}" for each in dense),
                    ", ".join(f"{each:.1f}" for each in small),
                    f"{mean(dense):.1f} to {mean(small):.1f}: {mean(changes):+.1f} (± {error:.1f})",
                ]
            )
    return found


def table(names: list[str], seeds: list[int], out: Path) -> str:
    first = seeds[0]
    verdicts = [line for line in (verdict(name, first, out) for name in names) if line]
    lines = [*markdown(HEADER, [cells for name in names for cells in rows(name, first, out)]), "", *verdicts]
    more = [cells for name in names for cells in by_seed(name, seeds, out)]
    if more:
        lines += [
            "",
            "By seed, dense and pruned; the mean change with its standard error over the seeds:",
            "",
        ]
        lines += markdown(BY_SEED, more)
    return "\n".join(lines) + "\n"


def markdown(header: Sequence[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows)]


BEGIN, END = "<!-- table: written by benchmarks/task_table.py -->", "<!-- end of the table -->"


def write(path: Path, text: str) -> None:
    """Put the table between its marks, or into a new file."""
    before, begin, rest = (path.read_text() if path.exists() else f"{BEGIN}\n{END}\n").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path}: no {BEGIN} with {END} below it")
    path.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("PRUNE_SSL_DATA"), help="folder of corpora"
    )
    parser.add_argument("--tasks", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help="the first is tabled whole, the others by metric"
    )
    parser.add_argument(
        "--budgets", nargs="+", help="only these of the tasks' own; each task's first goes first"
    )
    parser.add_argument("--out", type=Path, default=Path("out/tasks"))
    parser.add_argument("--into", type=Path, help="document that gets the table")
    parser.add_argument("--only-table", action="store_true", help="train nothing; table what is there")
    args = parser.parse_args()
    if args.data is None and not args.only_table:
        parser.error("--data or PRUNE_SSL_DATA wanted")
    quiet_libraries()
    torch.set_num_threads(1)
    # The first budget of every task comes before the second of any.
    order = sorted(
        ((index, name) for name in args.tasks for index in range(len(CASES[name].budgets))),
        key=lambda each: each[0],
    )
    for seed, (index, name) in [] if args.only_table else product(args.seeds, order):
        if args.budgets and CASES[name].budgets[index] not in args.budgets:
            continue
        try:
            run_case(name, index, Path(args.data), seed, args.out)
        except PruneError as error:
            parser.error(str(error))
    text = table(list(CASES), args.seeds, args.out)
    if args.into:
        write(args.into, text)
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
