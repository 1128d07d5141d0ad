"""Parameters, MACs, latency and real-time factor of any models, side by side.

    python benchmarks/flops_latency.py arch:wav2vec2-base out/model --seconds 1 10 --threads 1 --out out/bench

A model is a folder, a hub name, or `arch:` and an architecture, which gets random weights. Runtimes other
than eager PyTorch take the models as transformers has them; ratios are to the first model in the first one:

    python benchmarks/flops_latency.py arch:wav2vec2-base out/model --runtime eager onnx-int8 openvino
"""

import argparse
import sys
from pathlib import Path

from rich.console import Console

from prune_ssl.families.published import ARCHITECTURES
from prune_ssl.measuring import Timing, bench_table, benchmark_models, write_rows
from prune_ssl.runtimes.registry import RUNTIMES


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "models", nargs="+", help=f"folders, hub names, or arch: and one of {', '.join(ARCHITECTURES)}"
    )
    parser.add_argument("--seconds", type=float, nargs="+", default=[1.0, 5.0, 10.0], help="audio lengths")
    parser.add_argument("--threads", type=int, nargs="+", help="CPU thread counts (default: 1 and all)")
    parser.add_argument(
        "--runtime", nargs="+", default=["eager"], choices=list(RUNTIMES), help="runtimes, all in turns"
    )
    parser.add_argument("--iterations", type=int, default=50, help="timed calls of each model and setting")
    parser.add_argument("--min-seconds", type=float, default=3.0, help="least time in them")
    parser.add_argument(
        "--max-seconds", type=float, default=60.0, help="they stop here (n shows it); 0: never"
    )
    parser.add_argument("--out", type=Path, help="writes OUT.json and OUT.csv")
    args = parser.parse_args()

    console = Console(stderr=True)
    with console.status("loading") as status:
        rows = benchmark_models(
            args.models,
            Timing(
                seconds=args.seconds,
                threads=args.threads,
                min_iterations=args.iterations,
                min_seconds=args.min_seconds,
                max_seconds=args.max_seconds or None,
            ),
            optimised=args.runtime == ["eager"],
            runtimes=args.runtime,
            on_cell=lambda seconds, threads: status.update(
                f"timing {seconds:g} s of audio, {threads} threads"
            ),
        )
    Console(width=None if sys.stdout.isatty() else 160).print(bench_table(rows))
    for suffix in (".json", ".csv") if args.out else ():
        print(write_rows(rows, args.out.with_name(args.out.name + suffix)))
    return int(any(row.problem for row in rows))


if __name__ == "__main__":
    sys.exit(main())
