"""Time and memory of trace and resize with random weights, and the budgets that finalize reaches.

python benchmarks/trace_resize.py arch:wav2vec2-base
"""

import argparse
import resource
import time

import torch
from rich.console import Console
from rich.table import Table

from prune_ssl import PruningConfig, attach_gates, resize, trace
from prune_ssl.cli.console import quiet_libraries
from prune_ssl.measuring import build_model


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="arch:wav2vec2-base")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    quiet_libraries()
    model = build_model(args.model)
    size_mib = sum(p.numel() * p.element_size() for p in model.parameters()) / 2**20
    before, times = peak_mib(), []
    for _ in range(args.repeats):
        start = time.perf_counter()
        graph = trace(model)
        times.append(time.perf_counter() - start)
    console = Console()
    console.print(
        f"trace: {min(times):.2f} to {max(times):.2f} s over {args.repeats}; peak memory grew "
        f"{peak_mib() - before:.1f} MiB (the weights are {size_mib:.0f} MiB)"
    )
    table = Table("budget", "reached, of the budget", "finalize s", "resize s")
    for percent in (80, 50, 30, 20):
        gates = attach_gates(model, graph, PruningConfig(budget=f"macs={percent}%"))
        gates.detach()
        with torch.no_grad():
            gates.log_alpha.normal_(0, 3)
        start = time.perf_counter()
        plan = gates.finalize()
        middle = time.perf_counter()
        resize(model, graph, plan)
        end = time.perf_counter()
        reached = graph.cost(plan.keep).macs / (graph.cost().macs * percent / 100)
        table.add_row(
            f"macs={percent}%", f"{100 * reached:.3f}%", f"{middle - start:.2f}", f"{end - middle:.2f}"
        )
    console.print(table)


if __name__ == "__main__":
    main()
