"""How the cost of each step grows with the model: trace, select, resize, save and load from 20M to 1B.

    python benchmarks/scaling.py --page docs/scaling.md
    python benchmarks/scaling.py --sizes 20M 95M

Each size runs in a process of its own, whose processor time and peak of resident memory are measured. Models
have random weights and the wav2vec 2.0 architecture. `write` is safetensors' own writing of the dense
weights, the least that saving can take. The exponent is the slope of log(time) over log(parameters) between
the smallest and the largest size: 1 means that time grows as the model does.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from math import log
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel

import prune_ssl
from prune_ssl.cli.console import quiet_libraries, say
from prune_ssl.profiling.machine import cpu_model
from prune_ssl.writing import temporary_folder

Row = dict[str, Any]


def _shape(hidden: int, layers: int) -> dict[str, object]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64,
        "intermediate_size": 4 * hidden,
    }


SIZES = {
    "20M": _shape(384, 8),
    "95M": _shape(768, 12),
    "315M": _shape(1024, 24),
    "960M": _shape(1280, 48),
}
"""Name of a size -> the shape of its encoder. The frontend is that of wav2vec2-base."""
STEPS = ("trace", "select", "resize", "save", "load", "write")


@contextmanager
def timed(row: Row, name: str) -> Iterator[None]:
    """Add the processor and the wall seconds of the block to a row."""
    wall, busy = time.perf_counter(), time.process_time()
    yield
    row[name] = time.process_time() - busy
    row[f"{name}_wall"] = time.perf_counter() - wall


def measure(size: str) -> Row:
    """Return the times of all steps for one size, with budgets of 50% of the MACs."""
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model("wav2vec2", **SIZES[size])).eval()
    row: Row = {"size": size, "params": sum(each.numel() for each in model.parameters())}
    with temporary_folder() as folder:
        with timed(row, "write"):
            save_file(
                {name: each.contiguous() for name, each in model.state_dict().items()}, folder / "dense"
            )
        (folder / "dense").unlink()
        with timed(row, "trace"):
            graph = prune_ssl.trace(model)
        with timed(row, "select"):
            keep = prune_ssl.select(model, graph, "macs=50%")
        with timed(row, "resize"):
            small = prune_ssl.resize(model, graph, keep, inplace=True)
        with timed(row, "save"):
            prune_ssl.save_pretrained(small, folder / "small")
        with timed(row, "load"):
            prune_ssl.load_pretrained(folder / "small")
    row["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row["weights_mb"] = 4 * row["params"] / 1e6
    return row


def exponent(rows: list[Row], name: str) -> str:
    """Return the slope of log(time) over log(parameters) between the smallest and the largest size."""
    first, last = rows[0], rows[-1]
    if len(rows) < 2 or min(first[name], last[name]) <= 0:
        return "-"
    return f"{log(last[name] / first[name]) / log(last['params'] / first['params']):.2f}"


PAGE = """# Scaling, measured

Made by `{command}`,
{date}, {cpu}, torch {torch}, one thread, load average {load:.1f} at the end. Random weights, wav2vec 2.0
architecture, a cut to 50% of the MACs by magnitude. Each size ran in a process of its own. Times are seconds
of processor time, so that waiting for a core does not count; `write` is safetensors' own writing of the dense
weights. The exponent is that of time over parameters.

{table}
"""


def as_table(rows: list[Row]) -> str:
    """Return the table of the page."""
    header = ("parameters", *STEPS, "peak memory / weights")
    lines = [
        [
            f"{row['params'] / 1e6:.0f}M",
            *(f"{row[name]:.2f}" for name in STEPS),
            f"{row['peak_mb'] * 1.048576 / row['weights_mb']:.1f}",
        ]
        for row in rows
    ]
    lines.append(["exponent", *(exponent(rows, name) for name in STEPS), "-"])
    text = ["| " + " | ".join(cells) + " |" for cells in (header, *lines)]
    return "\n".join([text[0], "|---" * len(header) + "|", *text[1:]])


def in_own_process(size: str) -> Row:
    """Return the row of one size, measured in a new process."""
    command = [sys.executable, __file__, "--one", size]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: Row = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--page", type=Path, help="writes the page here")
    parser.add_argument("--one", choices=list(SIZES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    quiet_libraries()
    torch.set_num_threads(1)
    if args.one is not None:
        print(json.dumps(measure(args.one)))
        return
    rows = [in_own_process(size) for size in args.sizes]
    text = PAGE.format(
        command=f"python benchmarks/scaling.py --sizes {' '.join(args.sizes)} --page docs/scaling.md",
        date=date.today().isoformat(),
        cpu=cpu_model(),
        torch=torch.__version__,
        load=os.getloadavg()[0],
        table=as_table(rows),
    )
    say(text)
    if args.page is not None:
        args.page.write_text(text)


if __name__ == "__main__":
    main()
