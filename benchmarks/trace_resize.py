"""Time and memory of trace and resize with random weights, and the budgets that finalize reaches.

python benchmarks/trace_resize.py arch:wav2vec2-base
python benchmarks/trace_resize.py arch:xls-r-1b --meta
"""

import argparse
import copy
import resource
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

from prune_ssl import PruningConfig, attach_gates, resize, trace
from prune_ssl.cli.console import quiet_libraries
from prune_ssl.measuring import build_model


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def seconds_of(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="arch:wav2vec2-base")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--meta", action="store_true", help="on the meta device, without weights: trace only")
    args = parser.parse_args()
    quiet_libraries()
    with torch.device("meta" if args.meta else "cpu"):
        model = build_model(args.model)
    size_mib = sum(p.numel() * p.element_size() for p in model.parameters()) / 2**20
    before, times, busy = peak_mib(), [], []
    for _ in range(args.repeats):
        start, start_busy = time.perf_counter(), time.process_time()
        graph = trace(model)
        times.append(time.perf_counter() - start)
        busy.append(time.process_time() - start_busy)
    console = Console()
    console.print(
        f"trace: {min(times):.2f} to {max(times):.2f} s over {args.repeats} (processor time "
        f"{min(busy):.2f} to {max(busy):.2f} s); peak memory grew "
        f"{peak_mib() - before:.1f} MiB (the weights are {size_mib:.0f} MiB)"
    )
    if args.meta:
        return
    copies = [seconds_of(lambda: copy.deepcopy(model)) for _ in range(args.repeats)]
    console.print(f"copy.deepcopy, to compare resize with: {min(copies):.2f} to {max(copies):.2f} s")
    table = Table("budget", "reached, of the budget", "finalize s", "resize s")
    for percent in (80, 50, 30, 20):
        gates = attach_gates(model, graph, PruningConfig(budget=f"macs={percent}%"))
        gates.detach()
        with torch.no_grad():
            gates.log_alpha.normal_(0, 3)
        start = time.perf_counter()
        plan = gates.finalize()
        finalize_s = time.perf_counter() - start
        cuts = [seconds_of(lambda plan=plan: resize(model, graph, plan)) for _ in range(args.repeats)]
        reached = graph.cost(plan.keep).macs / (graph.cost().macs * percent / 100)
        table.add_row(
            f"macs={percent}%",
            f"{100 * reached:.3f}%",
            f"{finalize_s:.2f}",
            f"{min(cuts):.2f} to {max(cuts):.2f}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
