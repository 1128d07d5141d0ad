"""Repeat the figures of README and docs that fit an hour, and say which of them have moved.

    python benchmarks/docs_measured.py             # all of the table below: about an hour on two idle cores
    python benchmarks/docs_measured.py --fast      # those that take moments
    python benchmarks/docs_measured.py --only position --list

Each figure has a page and the words beside it there, a command, and the words beside it in what the command
prints. It has moved if the two differ by more than its interval. Figures of trainings on real corpora take
days, and are not here: their pages name their commands. Pages that are made from kept rows are made anew and
compared whole.
"""

import argparse
import re
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NUMBER = r"(-?\d[\d,]*(?:\.\d+)?)"


@dataclass(frozen=True)
class Figure:
    """One figure: where it is stated, how it is found anew, and how far the two may be apart."""

    page: str
    stated: str
    """Words of the page, a regular expression. `#` stands for the figure."""
    command: str
    """The arguments of Python. `FOLDER` stands for an empty folder."""
    found: str
    """Words of the output of the command, as above."""
    interval: float = 0.0
    """The largest difference, in the unit of the figure."""
    minutes: float = 0.2
    """The time of the command on two idle cores."""

    @property
    def fast(self) -> bool:
        return self.minutes <= 1


@dataclass(frozen=True)
class Page:
    """A page that is made from rows of `benchmarks/results`: made anew it must be the same."""

    page: str
    command: str
    """The arguments of Python; `PAGE` stands for the file that is written."""
    minutes: float = 0.3
    fast: bool = True


COST = """-c "
import torch
from prune_ssl import trace
from prune_ssl.measuring import build_model
torch.set_default_device('meta')
graph = trace(build_model('arch:wav2vec2-base'))
one, ten = graph.cost(seconds=1.0), graph.cost(seconds=10.0)
print(f'{ten.params:,} parameters, {one.macs / 1e9:.3f} G, {ten.macs / 1e9:.3f} G')
" """
RUNS = """-c "
from prune_ssl.sweeping import Search
from prune_ssl.sweeping.finding import bisect
count = Search.parse('drop<=1').count
runs = [len(bisect(count, lambda index: float(index < good), 0).tried) for good in range(count + 1)]
print(count, 'budgets', max(runs), 'runs')
" """
POSITION = "benchmarks/position_kernel.py --recovery 0 --out FOLDER"
TRACE = "benchmarks/trace_resize.py arch:wav2vec2-base"
OPTIMISED = "benchmarks/optimised.py arch:wav2vec2-base --keep 1 0.16 --seconds 2 --pairs 5"
GATED = "benchmarks/training_overhead.py --batch 1 --seconds 5 --threads 1 --steps 30"
PEERS = "benchmarks/torch_pruning_side_by_side.py --layers 4"
OVERWRITE = "benchmarks/faults.py --only overwrite --how kill"


def cell(row: str, place: int) -> str:
    """Return the words of a cell of a table: its row, and how many cells stand before it there."""
    return row + r"[^|]*\|" * place + " #"


FIGURES = (
    Figure("docs/measured.md", "wav2vec2-base: # parameters", COST, "^# parameters"),
    Figure("docs/measured.md", "# G MACs at 1 s", COST, "parameters, # G"),
    Figure("docs/measured.md", "# G at 10 s", COST, "G, # G"),
    Figure("docs/many_machines.md", r"# budgets \(5% to", RUNS, "^# budgets"),
    Figure("docs/many_machines.md", "need # runs at", RUNS, "budgets # runs"),
    Figure("docs/position.md", "clips, dense #%", POSITION, cell("uncut", 3), 0.35, 3),
    Figure("docs/position.md", cell("innermost 8 taps", 3), POSITION, cell("8 taps", 3), 0.7, 3),
    Figure("docs/position.md", cell(r"\| rank 2", 3), POSITION, cell(r"\| rank 2", 3), 0.7, 3),
    Figure("docs/measured.md", "memory grows by # MiB", TRACE, "memory grew # MiB", 10, 2),
    Figure("docs/measured.md", r"`trace` [\d.]+ to # s", TRACE, r"processor time [\d.]+ to # s", 0.5, 2),
    Figure("docs/optimised.md", cell(r"base \| 100%", 4), OPTIMISED, cell("100%", 4), 0.05, 2),
    Figure("docs/optimised.md", cell(r"base \| 16%", 4), OPTIMISED, cell("16%", 4), 0.08, 2),
    Figure("docs/measured.md", "training step takes # times", GATED, "gated wall / plain: #", 0.05, 8),
    Figure("docs/torch_pruning.md", cell(r"^\| wav2vec2 ", 8), PEERS, cell(r"^\| wav2vec2 ", 8), 0.002, 3),
    Figure("docs/torch_pruning.md", cell(r"^\| wavlm ", 8), PEERS, cell(r"^\| wavlm ", 8), 0.002, 3),
    Figure(
        "docs/faults.md", cell(r"overwrite` \| `kill", 1), OVERWRITE, cell(r"overwrite` \| `kill", 1), 0, 5
    ),
)

PAGES = (
    Page("docs/exports_measured.md", "benchmarks/exports.py --page PAGE"),
    Page("docs/methods_compared.md", "benchmarks/method_table.py --page PAGE"),
)


def main() -> int:
    """Repeat the chosen figures, print a line for each, and return 1 if one has moved or cannot be found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fast", action="store_true", help="only the figures that take at most a minute")
    parser.add_argument("--only", nargs="+", default=[], help="words of pages or commands")
    parser.add_argument("--list", action="store_true", help="show the figures and run nothing")
    arguments = parser.parse_args()
    chosen = [
        each
        for each in (*FIGURES, *PAGES)
        if (each.fast or not arguments.fast)
        and (not arguments.only or any(word in f"{each.page} {each.command}" for word in arguments.only))
    ]
    if arguments.list:
        for each in chosen:
            print(f"{each.page}: {getattr(each, 'stated', 'the whole page')} ({each.minutes:g} min)")
        return 0
    moved = 0
    for each in chosen:
        began = time.monotonic()
        verdict = figure_again(each) if isinstance(each, Figure) else page_again(each)
        moved += not verdict.startswith("holds")
        print(f"{each.page}: {verdict} ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"{len(chosen)} repeated, {moved} moved or not found")
    return int(moved > 0)


def figure_again(figure: Figure) -> str:
    """Return whether a figure holds, in words."""
    stated = number(figure.stated, (ROOT / figure.page).read_text(encoding="utf-8"))
    if stated is None:
        return f"not stated any more: {figure.stated}"
    output = output_of(figure.command)
    found = number(figure.found, output)
    if found is None:
        last = output.strip().splitlines()[-1:] or ["no output"]
        return f"not found in the output of python {' '.join(figure.command.split()):.60}: {last[0]:.200}"
    word = "holds" if abs(found - stated) <= figure.interval + 1e-9 else "moved"
    return f"{word}: {figure.stated}: stated {stated:g}, found {found:g}, interval {figure.interval:g}"


def page_again(page: Page) -> str:
    """Return whether a page that is made from kept rows is as its rows are, in words."""
    path = ROOT / page.page
    before, new = path.read_text(encoding="utf-8"), path.with_name(f"{path.stem}.again.md")
    try:
        output = output_of(page.command.replace("PAGE", str(new)))
        if not new.is_file():
            return f"not made: {output.strip()[-200:]}"
        after = new.read_text(encoding="utf-8")
    finally:
        for made in path.parent.glob(f"{path.stem}.again*"):
            made.unlink()
    lines = after.splitlines()
    missing = [line for line in before.splitlines() if line.startswith("|") and line not in lines]
    rows = sum(line.startswith("|") for line in before.splitlines())
    return f"moved: {len(missing)} of {rows} rows differ" if missing else f"holds: {rows} rows are the same"


def number(words: str, text: str) -> float | None:
    """Return the first number of a text that stands where `#` stands in the words.

    >>> number("kept #%", "dense 3, kept 49.97%")
    49.97
    """
    found = re.search(words.replace("#", NUMBER), text, re.MULTILINE)
    return None if found is None else float(found.group(1).replace(",", ""))


@cache
def output_of(command: str) -> str:
    """Run Python with the arguments of a command, once, and return what it prints."""
    with tempfile.TemporaryDirectory(prefix="measured-") as folder:
        words = [word.replace("FOLDER", folder) for word in shlex.split(command)]
        ended = subprocess.run(
            [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
    return ended.stdout if ended.returncode == 0 else f"{ended.stdout}\n{ended.stderr}"


if __name__ == "__main__":
    raise SystemExit(main())
