"""How much of a cut's MACs becomes speed, in every runtime: dense and cut models in turns with stock eager.

    python benchmarks/realised_speed.py --page docs/speed.md
    python benchmarks/realised_speed.py --models wav2vec2-base --threads 1 --seconds 1 --repeats 10

Models have random weights of published shapes, and are cut in one shot to shares of their MACs. In each
runtime the dense model and its cuts are timed in turns with the dense model in stock eager float32. `eager,
optimised` is `optimize_for_inference` on both sides. Rows that stand in the results are not measured again,
so that it can be stopped and called again; the page is made of all rows of the results.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import nn

import prune_ssl
from prune_ssl.cli.console import quiet_libraries, say
from prune_ssl.errors import PruneError
from prune_ssl.measuring import build_model
from prune_ssl.optimising import optimize_for_inference
from prune_ssl.profiling import Latency, Timing
from prune_ssl.profiling.machine import cpu_model, usable_cores
from prune_ssl.profiling.timing import time_calls
from prune_ssl.runtimes import RUNTIMES, open_model

Row = dict[str, Any]
RESULTS = Path(__file__).parent / "results" / "realised_speed.jsonl"
OPTIMISED = "eager, optimised"
ON_CPU = [OPTIMISED, *(name for name, runtime in RUNTIMES.items() if "cpu" in runtime.devices)]
KEY = ("model", "runtime", "threads", "seconds")


def cuts(model: nn.Module, shares: Iterable[int], seconds: float) -> dict[int, tuple[nn.Module, float]]:
    """Return the model cut to each share of its MACs in percent, with the share of MACs that is left."""
    graph = prune_ssl.trace(model)
    whole, made = graph.cost(seconds=seconds).macs, {}
    for share in shares:
        keep = prune_ssl.select(model, graph, f"macs={share}%", round_to=8, seconds=seconds)
        left = graph.cost(keep, seconds).macs / whole
        made[share] = prune_ssl.resize(model, graph, keep).eval(), left
    return made


def call_in(model: nn.Module, runtime: str, seconds: float, threads: int) -> Callable[[], object]:
    """Return a function that runs a copy of a model once in a runtime."""
    if runtime == OPTIMISED:
        return open_model(optimize_for_inference(model), "eager", seconds, threads).call
    return open_model(model, runtime, seconds, threads).call


def measure(name: str, shares: list[int], runtime: str, threads: int, seconds: float, repeats: int) -> Row:
    """Return the row of one architecture in one runtime."""
    torch.manual_seed(0)
    dense = build_model(name if "/" in name else f"arch:{name}").eval()
    made = cuts(dense, shares, seconds)
    calls = {"stock": call_in(dense, "eager", seconds, threads)}
    try:
        calls["100"] = call_in(dense, runtime, seconds, threads)
        calls |= {str(share): call_in(model, runtime, seconds, threads) for share, (model, _) in made.items()}
    except PruneError as error:
        return {"refused": str(error)}
    timing = Timing(min_iterations=repeats, min_seconds=0.0, max_seconds=300.0)
    found = time_calls(calls, seconds, threads, timing)
    return {
        "macs": {str(share): left for share, (_, left) in made.items()},
        "ms": {label: each.median_ms for label, each in found.items()},
        "low_ms": {label: each.low_ms for label, each in found.items()},
        "processor_ms": {label: each.processor_ms for label, each in found.items()},
        "n": found["stock"].n,
        "unsteady": unsteady(found),
    }


def unsteady(found: Mapping[str, Latency]) -> str:
    """Return the first reason why times of a row are unsteady, or an empty text."""
    return next((each.unsteady for each in found.values() if each.unsteady), "")


def rows(args: argparse.Namespace, known: set[tuple[Any, ...]]) -> Iterator[Row]:
    """Yield the rows that are not known yet."""
    for name in args.models:
        for seconds in args.seconds:
            for threads in args.threads:
                for runtime in args.runtimes:
                    if (name, runtime, threads, seconds) in known:
                        continue
                    key = {"model": name, "runtime": runtime, "threads": threads, "seconds": seconds}
                    found = measure(name, args.shares, runtime, threads, seconds, args.repeats)
                    yield key | found | conditions()


def conditions() -> Row:
    """Return the conditions of a row."""
    return {
        "date": date.today().isoformat(),
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "load": round(os.getloadavg()[0], 1),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "command": "python benchmarks/realised_speed.py " + " ".join(sys.argv[1:]),
    }


SHARES = ("50", "30", "16")
HEADER = ("model", "audio", "threads", "runtime", "dense", *(f"{each}%" for each in SHARES), "realised", "n")
PAGE = """# Speed, measured

Made by `python benchmarks/realised_speed.py --page docs/speed.md` from the rows in
`benchmarks/results/realised_speed.jsonl`. Each row has its date and its command there.

- **dense, 50%, 30%, 16%**: how many times as fast as the dense model in stock transformers, eager float32,
  on the same number of threads. The percentages are shares of the MACs.
- **realised**: the gain over the dense model in the same runtime, as a share of what the MACs promise. 1
  means that time fell as MACs did.
- The times of one row were measured in turns in one process. On one thread processor time is compared (low
  quartile), which waiting for a core does not change. On more threads it is wall time (low quartile).
{conditions}

{table}
"""


def cell_times(row: Row) -> dict[str, float]:
    """Return the times of a row that are compared: processor time on one thread, else wall time."""
    found = row["processor_ms"] if row["threads"] == 1 else row["low_ms"]
    return {label: float(ms) for label, ms in found.items()}


def line(row: Row) -> list[str]:
    """Return the cells of a row of the page."""
    start = [row["model"], f"{row['seconds']:g} s", str(row["threads"]), row["runtime"]]
    if "refused" in row:
        return [*start, *["-"] * 4, row["refused"], "-"]
    times = cell_times(row)
    gains = [f"{times['stock'] / times[label]:.2f}" if label in times else "-" for label in ("100", *SHARES)]
    realised = [
        f"{times['100'] / times[share] * row['macs'][share]:.2f}" for share in SHARES if share in times
    ]
    return [*start, *gains, ", ".join(realised), f"{row['n']}{'*' if row['unsteady'] else ''}"]


def page(found: list[Row]) -> str:
    """Return the page of all rows."""
    said = {
        f"- {row['date']}: {row['cpu']}, {row['cores']} cores, torch {row['torch']}; load average "
        f"{min(each['load'] for each in found)} to {max(each['load'] for each in found)} while it ran."
        for row in found
    }
    if any(row.get("unsteady") for row in found):
        said.add(
            "- Rows with * were measured while other programs used the cores: their ratios are less exact, "
            "and their times do not hold."
        )
    lines = ["| " + " | ".join(cells) + " |" for cells in (HEADER, *map(line, found))]
    lines.insert(1, "|---" * len(HEADER) + "|")
    return PAGE.format(conditions="\n".join(sorted(said)), table="\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="*", default=["wav2vec2-base", "hubert-base", "wavlm-base"])
    parser.add_argument("--shares", type=int, nargs="+", default=[50, 30, 16], help="percent of the MACs")
    parser.add_argument("--runtimes", nargs="+", default=ON_CPU, choices=ON_CPU)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, nargs="+", default=[5.0], help="audio lengths")
    parser.add_argument("--repeats", type=int, default=30, help="timed calls of each model")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, help="writes the page here")
    args = parser.parse_args()
    quiet_libraries()
    text = args.results.read_text() if args.results.is_file() else ""
    found = [json.loads(each) for each in text.splitlines()]
    for row in rows(args, {tuple(row[name] for name in KEY) for row in found}):
        found.append(row)
        with args.results.open("a") as file:
            file.write(json.dumps(row) + "\n")
        say("  ".join(line(row)))
    if args.page is not None:
        args.page.write_text(page(found))


if __name__ == "__main__":
    main()
