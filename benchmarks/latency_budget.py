"""Compare a latency budget with a MACs budget on this machine: measured latencies and kept shares.

    python benchmarks/latency_budget.py --page docs/latency_budgets.md
    python benchmarks/latency_budget.py --runtimes onnx-int8 --threads 1 --seconds 1 --iterations 10

For each runtime and number of threads, three models are cut in one shot from one with random weights:
`latency=50%`, its table corrected by timing the chosen cut (`fit_latency`); `macs=50%`; and the fastest
latency budget that keeps at least as much worth as `macs=50%` does. Worth is what the solver maximises
(scores of the units kept, with diminishing returns), so it stands for quality alike. All are timed in turns
with the dense model in the runtime, in one process. Rows that stand in the results are not measured again,
so that it can be stopped and called again; the page is made of all rows of the results.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prune_ssl import resize, trace
from prune_ssl.cli.console import quiet_libraries, say
from prune_ssl.measuring import build_model
from prune_ssl.profiling import Latency, Timing, fit_latency, with_latency
from prune_ssl.profiling.machine import cpu_model
from prune_ssl.profiling.timing import time_calls
from prune_ssl.runtimes import RUNTIMES, open_model
from prune_ssl.selection import Budget, Constraint, allowed_widths, resolve, score_units, select
from prune_ssl.selection.steps import worth
from prune_ssl.tracing import PruningGraph

Keep = dict[str, tuple[int, ...]]
Row = dict[str, Any]
ROUND = 8
RESULTS = Path(__file__).parent / "results" / "latency_budgets.jsonl"
ON_CPU = [name for name, runtime in RUNTIMES.items() if "cpu" in runtime.devices]
KEY = ("model", "runtime", "threads", "seconds", "criterion")
LATENCY, MACS, AS_MUCH = "latency=50%", "macs=50%", "as much worth"


def worth_of(graph: PruningGraph, scores: dict[str, torch.Tensor], keep: Keep) -> float:
    widths, total = allowed_widths(graph, ROUND), 0.0
    for name, options in widths.items():
        group = graph.groups[name]
        kept = len(keep.get(name, range(group.size)))
        total += float(worth(group, scores[name], options)[options.index(kept)])
    return total


def percent(constraint: Constraint, value: float) -> Budget:
    return (replace(constraint, fraction=value / 100),)


def measure(key: Row, iterations: int) -> Row:
    """Return the measured times, MACs and worth of the three cuts, for the conditions in `key`."""
    torch.manual_seed(0)
    model = build_model(key["model"] if "/" in key["model"] else f"arch:{key['model']}").eval()
    graph = trace(model)
    seconds, threads, runtime = key["seconds"], key["threads"], key["runtime"]
    text = f"latency=50%@cpu,runtime={runtime},threads={threads},seconds={seconds}"
    (half,) = with_latency(model, graph, text, say=say)
    chosen = partial(select, model, graph, criterion=key["criterion"], round_to=ROUND, seconds=seconds)
    (half,) = fit_latency(model, graph, (half,), lambda budget: chosen(budget=budget), say).budget
    keeps: dict[str, Keep] = {LATENCY: chosen(budget=(half,)), MACS: chosen(budget="macs=50%")}
    worth_kept = partial(worth_of, graph, score_units(model, graph, key["criterion"]))
    low, high = 10.0, 100.0
    while high - low > 0.25:
        middle = (low + high) / 2
        enough = worth_kept(chosen(budget=percent(half, middle))) >= worth_kept(keeps[MACS])
        low, high = (low, middle) if enough else (middle, high)
    keeps[AS_MUCH] = chosen(budget=percent(half, high))
    models: dict[str, nn.Module] = {"dense": model}
    models |= {label: resize(model, graph, keep) for label, keep in keeps.items()}
    calls = {label: open_model(each, runtime, seconds, threads).call for label, each in models.items()}
    timing = Timing(seconds=seconds, threads=threads, min_iterations=iterations, max_seconds=None)
    found = time_calls(calls, seconds, threads, timing)
    (limit,) = resolve((half,), graph, allowed_widths(graph, ROUND), seconds)
    table, whole = limit.cost, graph.cost(seconds=seconds)
    return {
        "ms": {label: compared(each, threads) for label, each in found.items()},
        "median_ms": {label: each.median_ms for label, each in found.items()},
        "predicted": {
            label: table.value(graph.widths(keep)) / table.value(graph.widths())
            for label, keep in keeps.items()
        },
        "macs": {label: graph.cost(keep, seconds).macs / whole.macs for label, keep in keeps.items()},
        "worth": {label: worth_kept(keep) / worth_kept({}) for label, keep in keeps.items()},
        "asked": {LATENCY: 50.0, AS_MUCH: high},
        "n": found["dense"].n,
        "date": date.today().isoformat(),
        "cpu": cpu_model(),
        "torch": str(torch.__version__),
    }


def compared(mine: Latency, threads: int) -> float:
    """Return the low quartile of the processor time on one thread, else of the wall time."""
    return (mine.processor_ms if threads == 1 else None) or mine.low_ms or mine.median_ms


HEADER = (
    "audio",
    "threads",
    "runtime",
    "model",
    "time, of dense",
    "speed, of `macs=50%`",
    "predicted",
    "MACs",
    "worth kept",
)
PAGE = """# Latency budgets, measured

Made by `python benchmarks/latency_budget.py --page docs/latency_budgets.md` from the rows in
`benchmarks/results/latency_budgets.jsonl`: models with random weights, batch 1, one-shot cuts by a criterion,
timed in turns with the dense model in the same runtime.

- **time, of dense**: on one thread the low quartile of processor time is compared, which waiting for a core
  does not change; on more threads the low quartile of wall time.
- **worth kept**: what the solver maximises, which is scores of the units kept, with diminishing returns. The
  last row of each three is the fastest latency budget (to 0.25%) that keeps as much of it as `macs=50%` does.
{conditions}

{table}
"""


def lines(row: Row) -> list[tuple[str, ...]]:
    """Return the cells of the three lines of a row."""
    times: Mapping[str, float] = row["ms"]
    found = []
    for label in (LATENCY, MACS, AS_MUCH):
        name = f"`{label}`" if label != AS_MUCH else f"`latency={row['asked'][label]:.1f}%`, {AS_MUCH}"
        cells = f"{row['seconds']:g} s", str(row["threads"]), row["runtime"], name
        shares = times[label] / times["dense"], *(row[each][label] for each in ("predicted", "macs", "worth"))
        time, predicted, macs, worth_kept = (f"{100 * share:.1f}%" for share in shares)
        found.append((*cells, time, f"{times[MACS] / times[label]:.2f}", predicted, macs, worth_kept))
    return found


def page(rows: list[Row]) -> str:
    """Return the page of all rows, a table for each model."""
    said = {f"- {row['date']}: {row['cpu']}, torch {row['torch']}." for row in rows}
    tables = []
    for name in sorted({f"{row['model']}, by {row['criterion']}" for row in rows}):
        own = [row for row in rows if f"{row['model']}, by {row['criterion']}" == name]
        cells = [line for row in own for line in lines(row)]
        text = ["| " + " | ".join(each) + " |" for each in (HEADER, *cells)]
        text.insert(1, "|---" * len(HEADER) + "|")
        tables.append(f"## {name}\n\n" + "\n".join(text))
    return PAGE.format(conditions="\n".join(sorted(said)), table="\n\n".join(tables))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="wav2vec2-base")
    parser.add_argument("--runtimes", nargs="+", default=ON_CPU, choices=ON_CPU)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, nargs="+", default=[5.0], help="audio lengths")
    parser.add_argument("--criterion", default="magnitude")
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, help="writes the page here")
    args: Any = parser.parse_args()
    quiet_libraries()
    text = args.results.read_text() if args.results.is_file() else ""
    rows = [json.loads(each) for each in text.splitlines()]
    known = {tuple(row[name] for name in KEY) for row in rows}
    for seconds in args.seconds:
        for threads in args.threads:
            for runtime in args.runtimes:
                values = (args.model, runtime, threads, seconds, args.criterion)
                if values in known:
                    continue
                key = dict(zip(KEY, values, strict=True))
                rows.append(key | measure(key, args.iterations))
                with args.results.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
                for line in lines(rows[-1]):
                    say("  ".join(line))
    if args.page is not None:
        args.page.write_text(page(rows))


if __name__ == "__main__":
    main()
