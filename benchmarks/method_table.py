"""Compare the methods at equal training steps: by method, budget and seed, with every clip's outcome kept.

    python benchmarks/method_table.py --data PATH/TO/CORPORA --jobs 2 --page docs/methods_compared.md

CORPORA holds arabic_commands and an4_asr. Each cell (a method at a budget from the dense model of a seed)
runs in a process of its own on one thread. Its row, with the outcome of every test clip, goes into
benchmarks/results/methods.jsonl. Cells that have a row there are not run again, so the command can be
stopped and called again. The page is made from that file alone: without --data nothing is run, and no
corpus is needed.

`--study`, `--methods`, `--budgets` and `--seeds` select cells. The cells that they need (dense models; for
`hj_size` the gates) are added. `--forget` removes the rows and runs of the selected cells. `--validation`
judges on the validation split, for choices: its rows stay in OUT and never reach the page. `--dense
'runs/dense-{seed}/dense'` takes dense models that are there; so does a model at
OUT/STUDY/dense-sSEED/run/dense.
"""

import argparse
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from methods.driving import last_line, run_all, start_process
from methods.page import study_text, write_page
from methods.results import Table, load_table, save_table
from methods.studies import METHODS, STUDIES, Cell, cells_of, missing

from prune_ssl.cli.console import quiet_libraries, say
from prune_ssl.errors import PruneError
from prune_ssl.writing import remove

KEPT = Path(__file__).parent / "results" / "methods.jsonl"
COMMAND = "python benchmarks/method_table.py --data PATH/TO/CORPORA --jobs 2 --page docs/methods_compared.md"


def main() -> int:
    args = parsed()
    signal.signal(signal.SIGTERM, lambda *_: raise_exit())
    cells = [
        cell
        for name in args.study
        for cell in cells_of(STUDIES[name], args.methods, args.budgets, args.seeds)
    ]
    table, failed = load_table(args.table), 0
    if args.forget:
        forget(cells, args, table)
    elif args.data is not None:
        failed = run_missing(cells, args, table)
    for name in args.study:
        print(study_text(table, STUDIES[name]))
    if args.page:
        write_page(args.page, COMMAND, table)
    return min(failed, 1)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of corpora; without it nothing is run")
    parser.add_argument("--out", type=Path, default=Path("out/methods"), help="folder of the runs")
    parser.add_argument("--table", type=Path, help=f"file of the rows (benchmarks/results/{KEPT.name})")
    parser.add_argument("--page", type=Path, help="writes the tables as Markdown, and the plots beside them")
    parser.add_argument("--study", choices=list(STUDIES), nargs="+", default=list(STUDIES))
    parser.add_argument("--methods", choices=list(METHODS), nargs="+", default=[])
    parser.add_argument("--budgets", type=int, nargs="+", default=[], help="percent of the dense MACs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[])
    parser.add_argument("--jobs", type=int, default=1, help="cells that run at once")
    parser.add_argument("--dense", default="", help="folder of dense models, with {study} and {seed} in it")
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--forget", action="store_true", help="forgets the selected cells and runs nothing")
    parser.add_argument(
        "--set", nargs="+", default=[], help="overrides of every recipe, key.sub=value; they need a --table"
    )
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)  # study, method, percent, seed
    args = parser.parse_args()
    if args.set and not args.validation and args.table is None:
        parser.error("--set: give --table, so that the kept rows stay those of the plain settings")
    if args.validation and args.page:
        parser.error("--page shows test clips only: leave --validation out")
    if args.table is None:
        args.table = args.out / "validation.jsonl" if args.validation else KEPT
    if args.one:
        run_one(args)
        parser.exit()
    return args


def raise_exit() -> None:
    raise SystemExit(143)


def setup_of(args: argparse.Namespace) -> Any:
    from methods.recipes import Setup

    return Setup(args.data, args.out, args.validation, tuple(args.set), args.dense)


def run_one(args: argparse.Namespace) -> None:
    """Run one cell in this process."""
    import torch
    from methods.running import run_cell

    study, method, percent, seed = args.one
    quiet_libraries()
    torch.set_num_threads(1)
    try:
        cell = Cell(STUDIES[study], method, int(percent), int(seed))
        run_cell(cell, setup_of(args), load_table(args.table).rows)
    except (PruneError, ValueError) as error:
        raise SystemExit(str(error)) from error


def run_missing(cells: Sequence[Cell], args: argparse.Namespace, table: Table) -> int:
    """Run the cells without a row, and those that they need. Return the number of those that failed."""
    from methods.running import found_row

    setup = setup_of(args)
    shared = ["--data", str(args.data), "--out", str(args.out), "--table", str(args.table)]
    shared += ["--validation"] * args.validation + (["--dense", args.dense] if args.dense else [])
    shared += ["--set", *args.set] if args.set else []

    def log_of(cell: Cell) -> Path:
        return setup.folder(cell) / f"{setup.split}.log"

    def start(cell: Cell) -> Any:
        say(f"{cell.study.name}: {cell.name}")
        one = (cell.study.name, cell.method, str(cell.percent), str(cell.seed))
        return start_process(["--one", *one, *shared], log_of(cell))

    def take(cell: Cell) -> bool:
        """Put a finished cell's row into the table, whose file another process may have written meanwhile."""
        found = found_row(cell, setup)
        if found is not None:
            newest = load_table(args.table)
            newest.add(*found)
            save_table(args.table, newest)
            table.judged, table.rows = newest.judged, newest.rows
        return found is not None

    def ended(cell: Cell, status: int) -> bool:
        if status == 0 and take(cell):
            row = table.rows[cell.key]
            spent = "given" if row.wall_seconds is None else f"{row.wall_seconds:.0f} s"
            say(f"  {cell.study.name}: {cell.name}: {100 * row.value:.2f} ({spent})")
            return True
        say(f"  failed: {cell.study.name}: {cell.name}: {last_line(log_of(cell))} ({log_of(cell)})")
        return False

    def left() -> list[Cell]:
        return missing(cells, table.rows, setup.has_dense)

    for cell in left():  # rows of an earlier call that was stopped before it took them
        take(cell)
    todo = left()
    say(f"{len(todo)} cells to run")
    return len(run_all(todo, args.jobs, start, ended))


def forget(cells: Sequence[Cell], args: argparse.Namespace, table: Table) -> None:
    setup = setup_of(args)
    table.drop(cell.key for cell in cells)
    save_table(args.table, table)
    for cell in cells:
        remove(setup.folder(cell))
        say(f"forgotten: {cell.study.name}: {cell.name}")


if __name__ == "__main__":
    raise SystemExit(main())
