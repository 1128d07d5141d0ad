"""nano-SUPERB: students of a small HuBERT on five small tasks, each with every clip's outcome kept.

    python benchmarks/nano_superb.py --teacher FOLDER --data CORPORA --jobs 2 --page docs/nano_superb.md

TEACHER is a pretrained HubertModel (benchmarks/pretrain_small.py), CORPORA holds arabic_commands, an4_asr,
coffee_intents, speechocean_full, speech_pool, noise and rirs. A cell is the making of a student, or a model
on a task. Each runs in a process of its own on one thread. The row of a model on a task, with the outcome of
every judged clip, goes into benchmarks/results/nano_superb.jsonl. Cells that have a row there are not run
again, and one that was stopped goes on from its checkpoint, so the command can be stopped and called again.
The page is made from the rows alone: without --data nothing is run, and no corpus is needed.

`--tasks`, `--methods`, `--modes` and `--seeds` select cells; the students and fine-tuned teachers that they
start from are added. `--validation` judges on the validation split, for choices: its rows stay in OUT. So do
those of another `--effort`, which multiplies all numbers of steps. `--forget` removes the rows and runs of
the selected cells.
"""

import argparse
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from methods.driving import last_line, run_all, start_process
from nano.cells import METHODS, MODES, TASKS, Cell, cells_of, missing
from nano.page import page_text, write_page
from nano.rows import Rows, load_rows, save_rows

from prune_ssl.cli.console import quiet_libraries, say
from prune_ssl.errors import PruneError
from prune_ssl.writing import remove

KEPT = Path(__file__).parent / "results" / "nano_superb.jsonl"
COMMAND = "python benchmarks/nano_superb.py --teacher FOLDER --data CORPORA --page docs/nano_superb.md"


def main() -> int:
    args = parsed()
    signal.signal(signal.SIGTERM, lambda *_: raise_exit())
    cells = cells_of(args.tasks, args.methods, args.modes, args.seeds)
    rows, failed = load_rows(args.table), 0
    if args.forget:
        forget(cells, args, rows)
    elif args.data is not None:
        failed = run_missing(cells, args, rows)
    if args.page:
        write_page(args.page, COMMAND, rows)
    else:
        print(page_text(COMMAND, rows))
    return min(failed, 1)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", type=Path, help="folder of the pretrained model")
    parser.add_argument("--data", type=Path, help="folder of corpora; without it nothing is run")
    parser.add_argument("--out", type=Path, default=Path("out/nano_superb"), help="folder of the runs")
    parser.add_argument("--table", type=Path, help=f"file of the rows (benchmarks/results/{KEPT.name})")
    parser.add_argument("--page", type=Path, help="writes the tables as Markdown; else they are printed")
    parser.add_argument("--tasks", choices=list(TASKS), nargs="+", default=[])
    parser.add_argument("--methods", choices=list(METHODS), nargs="+", default=[])
    parser.add_argument("--modes", choices=MODES, nargs="+", default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[])
    parser.add_argument("--jobs", type=int, default=1, help="cells that run at once")
    parser.add_argument("--effort", type=float, default=1.0, help="multiplies all numbers of steps")
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--forget", action="store_true", help="forgets the selected cells and runs nothing")
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)  # method, task or -, mode, seed
    args = parser.parse_args()
    if args.data is not None and args.teacher is None:
        parser.error("--data: give the --teacher as well")
    own = args.validation or args.effort != 1.0
    if args.table is None:
        args.table = args.out / "rows.jsonl" if own else KEPT
    if args.one:
        run_one(args)
        parser.exit()
    return args


def raise_exit() -> None:
    raise SystemExit(143)


def setup_of(args: argparse.Namespace) -> Any:
    from nano.recipes import Setup

    return Setup(args.teacher, args.data, args.out, args.validation, args.effort)


def run_one(args: argparse.Namespace) -> None:
    """Run one cell in this process."""
    import torch
    from nano.running import run_cell

    method, task, mode, seed = args.one
    quiet_libraries()
    torch.set_num_threads(1)
    try:
        run_cell(Cell(method, int(seed), "" if task == "-" else task, mode), setup_of(args))
    except (PruneError, ValueError) as error:
        raise SystemExit(str(error)) from error


def run_missing(cells: Sequence[Cell], args: argparse.Namespace, rows: Rows) -> int:
    """Run the cells without a row, and those that they need. Return the number of those that failed."""
    from nano.running import found_row, has_model

    setup = setup_of(args)
    shared = ["--teacher", str(args.teacher), "--data", str(args.data), "--out", str(args.out)]
    shared += ["--effort", str(args.effort), *(["--validation"] if args.validation else [])]

    def log_of(cell: Cell) -> Path:
        return Path(setup.folder(cell)) / "log.txt"

    def start(cell: Cell) -> Any:
        say(cell.name)
        one = (cell.method, cell.task or "-", cell.mode, str(cell.seed))
        return start_process(["--one", *one, *shared], log_of(cell))

    def take(cell: Cell) -> bool:
        """Put a finished cell's row into the file, which another process may have written meanwhile."""
        row = found_row(cell, setup)
        if row is not None:
            rows.update(load_rows(args.table) | {row.key: row})
            save_rows(args.table, rows)
        return row is not None

    def ended(cell: Cell, status: int) -> bool:
        done = status == 0 and (take(cell) if cell.task else has_model(cell, setup))
        if not done:
            say(f"  failed: {cell.name}: {last_line(log_of(cell))} ({log_of(cell)})")
        elif cell.task:
            row = rows[cell.key]
            say(f"  {cell.name}: {row.metric} {100 * row.value():.2f} ({row.core_seconds:.0f} s)")
        return done

    def left() -> list[Cell]:
        return missing(cells, lambda cell: cell.key in rows, lambda cell: has_model(cell, setup))

    for cell in left():  # rows of an earlier call that was stopped before it took them
        take(cell)
    todo = left()
    say(f"{len(todo)} cells to run")
    return len(run_all(todo, args.jobs, start, ended))


def forget(cells: Sequence[Cell], args: argparse.Namespace, rows: Rows) -> None:
    setup = setup_of(args)
    for cell in cells:
        rows.pop(cell.key, None)
        remove(setup.folder(cell))
        say(f"forgotten: {cell.name}")
    save_rows(args.table, rows)


if __name__ == "__main__":
    raise SystemExit(main())
