"""Compare a latency budget with a MACs budget on this machine: measured latencies and kept shares.

    python benchmarks/latency_budget.py --threads 1 2 --page docs/latency_budgets.md

For each number of threads, three models are cut in one shot from one with random weights: `latency=50%`, its
table corrected by timing what it chooses (`fit_latency`); `macs=50%`; and the fastest latency budget whose
keep has at least the worth of the MACs budget's keep. Worth is what the solver maximises in all three (scores
of the units kept, with diminishing returns), so it stands for quality alike. All are then timed in turns with
the dense model, in one go.
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prune_ssl import resize, trace
from prune_ssl.cli.console import quiet_libraries, say
from prune_ssl.measuring import build_model
from prune_ssl.profiling import Latency, Timing, fit_latency, measure_interleaved, speed_up, with_latency
from prune_ssl.profiling.machine import cpu_model
from prune_ssl.selection import Budget, Constraint, allowed_widths, resolve, score_units, select
from prune_ssl.selection.steps import worth
from prune_ssl.tracing import PruningGraph

Keep = dict[str, tuple[int, ...]]
ROUND = 8


def worth_of(graph: PruningGraph, scores: dict[str, torch.Tensor], keep: Keep) -> float:
    widths, total = allowed_widths(graph, ROUND), 0.0
    for name, options in widths.items():
        group = graph.groups[name]
        kept = len(keep.get(name, range(group.size)))
        total += float(worth(group, scores[name], options)[options.index(kept)])
    return total


def percent(constraint: Constraint, value: float) -> Budget:
    return (replace(constraint, fraction=value / 100),)


def run(name: str, threads: int, seconds: float, criterion: str, iterations: int) -> list[list[str]]:
    torch.manual_seed(0)
    model = build_model(name).eval()
    graph = trace(model)
    scores = score_units(model, graph, criterion)
    (half,) = with_latency(model, graph, f"latency=50%@cpu,threads={threads},seconds={seconds}", say=say)
    chosen = partial(select, model, graph, criterion=criterion, round_to=ROUND, seconds=seconds)
    (half,) = fit_latency(model, graph, (half,), lambda budget: chosen(budget=budget), say).budget
    keeps: dict[str, Keep] = {
        "`latency=50%`": chosen(budget=(half,)),
        "`macs=50%`": chosen(budget="macs=50%"),
    }
    wanted = worth_of(graph, scores, keeps["`macs=50%`"])
    low, high = 10.0, 100.0
    while high - low > 0.25:
        middle = (low + high) / 2
        enough = worth_of(graph, scores, chosen(budget=percent(half, middle))) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    keeps[f"`latency={high:.1f}%`, as much worth"] = chosen(budget=percent(half, high))
    models: dict[str, nn.Module] = {"dense": model}
    models |= {label: resize(model, graph, keep) for label, keep in keeps.items()}
    timing = Timing(seconds=seconds, threads=threads, min_iterations=iterations, max_seconds=None)
    found = measure_interleaved(models, timing)
    dense = found["dense"][0]
    whole, everything = graph.cost(seconds=seconds), worth_of(graph, scores, {})
    (limit,) = resolve((half,), graph, allowed_widths(graph, ROUND), seconds)
    table, rows = limit.cost, [row(threads, "dense", dense, dense, "100.0%", "100.0%", "-")]
    for label, keep in keeps.items():
        cost = graph.cost(keep, seconds)
        kept = f"{100 * worth_of(graph, scores, keep) / everything:.1f}%"
        predicted = f"{100 * table.value(graph.widths(keep)) / table.value(graph.widths()):.1f}%"
        macs = f"{100 * cost.macs / whole.macs:.1f}%"
        rows.append(row(threads, label, found[label][0], dense, macs, kept, predicted))
    of_macs, as_much = (found[label][0] for label in list(keeps)[1:])
    gain = speed_up(of_macs, as_much)
    say(
        f"{threads} threads: as much worth {gain.ratio:.3f} times as fast ({gain.low:.3f} to {gain.high:.3f})"
    )
    return rows


def row(threads: int, label: str, mine: Latency, dense: Latency, *more: str) -> list[str]:
    macs, kept, predicted = more
    times = f"{mine.median_ms:.1f} ({mine.p10_ms:.1f} to {mine.p90_ms:.1f})"
    share = f"{100 * mine.median_ms / dense.median_ms:.1f}%"
    least = f"{100 * mine.p10_ms / dense.p10_ms:.1f}%"
    return [str(threads), label, times, share, least, predicted, macs, kept]


HEADER = (
    "threads",
    "model",
    "median ms (p10 to p90)",
    "median, of dense",
    "p10, of dense",
    "predicted",
    "MACs",
    "worth kept",
)


PAGE = """# Latency budgets, measured

Made by `python benchmarks/latency_budget.py --threads {threads} --page docs/latency_budgets.md`: {model} with
random weights, {seconds:g} s of audio, batch 1, {cpu}, torch {torch}; one-shot cuts by {criterion}, timed in
turns with the dense model ({iterations} calls or more of each).

Worth is what the solver maximises: scores of the units kept, with diminishing returns. The last row of each
number of threads is the fastest latency budget (to 0.25%) that keeps as much of it as `macs=50%` does.

{table}
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="arch:wav2vec2-base")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--criterion", default="magnitude")
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--page", type=Path, help="writes the table here")
    args: Any = parser.parse_args()
    quiet_libraries()
    rows = []
    for threads in args.threads:
        rows += run(args.model, threads, args.seconds, args.criterion, args.iterations)
    lines = ["| " + " | ".join(cells) + " |" for cells in (HEADER, *rows)]
    lines.insert(1, "|---" * len(HEADER) + "|")
    text = "\n".join(lines)
    say(text)
    if args.page is not None:
        args.page.write_text(
            PAGE.format(
                threads=" ".join(map(str, args.threads)),
                model=args.model.removeprefix("arch:"),
                cpu=cpu_model(),
                torch=torch.__version__,
                table=text,
                **{name: getattr(args, name) for name in ("seconds", "criterion", "iterations")},
            )
        )


if __name__ == "__main__":
    main()
