"""Run cells in processes of their own, as many at once as wanted, each after those that it needs."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

POLL_SECONDS = 0.5
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class Needing(Protocol):
    """A cell, which can be a key of a dict."""

    @property
    def needs(self) -> tuple[Any, ...]: ...

    def __hash__(self) -> int: ...


Cell = TypeVar("Cell", bound=Needing)


class Process(Protocol):
    """What is needed of a subprocess."""

    def poll(self) -> int | None: ...

    def terminate(self) -> None: ...

    def wait(self) -> int: ...


def run_all(
    cells: Sequence[Cell],
    jobs: int,
    start: Callable[[Cell], Process],
    ended: Callable[[Cell, int], bool],
    poll_seconds: float = POLL_SECONDS,
) -> list[Cell]:
    """Run cells, each after those of its needs that are among them, and return those that failed.

    A cell that needs a failed one is not started, and fails too. If this function is interrupted, it ends the
    processes that run.

    Args:
        cells: The cells, each after its needs.
        jobs: The number of cells that run at once.
        start: Starts the process of a cell.
        ended: Called with each cell whose process has ended and its exit status. It says whether there is a
            result.
        poll_seconds: The time between two looks at the processes.
    """
    waiting, running, failed = list(cells), dict[Cell, Process](), list[Cell]()
    try:
        while waiting or running:
            for cell in [each for each in waiting if any(need in failed for need in each.needs)]:
                waiting.remove(cell)
                failed.append(cell)
            open_cells = {*waiting, *running}
            ready = [cell for cell in waiting if not any(need in open_cells for need in cell.needs)]
            for cell in ready[: jobs - len(running)]:
                waiting.remove(cell)
                running[cell] = start(cell)
            time.sleep(poll_seconds)
            for cell, process in list(running.items()):
                status = process.poll()
                if status is not None:
                    del running[cell]
                    if not ended(cell, status):
                        failed.append(cell)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
    return failed


def start_process(arguments: Sequence[str], log: Path) -> Process:
    """Start this program with arguments, on one thread, with its output in a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w", encoding="utf-8") as file:
        return subprocess.Popen(
            [sys.executable, sys.argv[0], *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **ONE_THREAD},
        )


def last_line(log: Path) -> str:
    """Return the last line of a log that says something."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "nothing was said")
