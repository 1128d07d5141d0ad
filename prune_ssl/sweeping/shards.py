"""Workers that share the folder of a sweep: one of a job array, or several processes of this machine."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Protocol

import torch

from prune_ssl.errors import RecipeError
from prune_ssl.sweeping.attempts import Say, attempt
from prune_ssl.sweeping.cells import Trial
from prune_ssl.sweeping.plan import SweepPlan

POLL_SECONDS = 1.0
"""The pause of a worker whose trials all wait for dense models that other workers train."""
RESTARTS = 3
"""A worker process that dies is started again so many times."""


class Engine(Protocol):
    """The place where the trials of a sweep run."""

    def work(self, plan: SweepPlan, say: Say) -> None:
        """Run trials of a plan until none is left for this process."""


@dataclass(frozen=True)
class Shard:
    """One worker of several that share a folder, for example one task of a Slurm array.

    It begins with every `count`-th trial, and then takes up what no other worker has claimed. It ends when
    the trials that are left all run elsewhere. A worker that died may come back: its trials are resumed.

    >>> Shard.parse("2/4")
    Shard(index=2, count=4)
    """

    index: int = 1
    """The number of the worker, from 1."""
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read `I/N`.

        Raises:
            RecipeError: the text is not of this form, or I is not from 1 to N.
        """
        first, _, last = text.partition("/")
        if first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last):
            return cls(int(first), int(last))
        raise RecipeError(f"--shard: found {text!r:.40}, wanted I/N with I from 1 to N, such as 1/4.")

    def order(self, cells: list[Trial]) -> list[Trial]:
        """Return all trials, those of this worker first.

        >>> Shard(2, 2).order(["a", "b", "c"])
        ['b', 'a', 'c']
        """
        own = cells[self.index - 1 :: self.count]
        return own + [cell for cell in cells if cell not in own]

    def work(self, plan: SweepPlan, say: Say) -> None:
        """Run trials of a plan until each is finished, has failed, or runs elsewhere."""
        left = self.order(list(plan.recipes))
        while left:
            ends = {}
            for cell in left:
                ends[cell] = attempt(plan, cell, say)
            left = [cell for cell, end in ends.items() if end in ("claimed", "waiting")]
            if all(end != "waiting" for end in ends.values()):
                break
            time.sleep(POLL_SECONDS)
        if left:
            say(f"{len(left)} trials are left to the workers that have claimed them.")


@dataclass(frozen=True)
class Jobs:
    """Several processes of this machine, each of which is a `Shard`. Accelerators are dealt out in turn."""

    count: int
    prepare: Callable[[], object] | None = None
    """Called first in each process, for example to load extensions."""

    def work(self, plan: SweepPlan, say: Say) -> None:
        """Start the processes, print their lines, and start again those that die."""
        left = dict.fromkeys(range(1, min(self.count, len(plan.recipes)) + 1), RESTARTS)
        running = {index: self._start(plan, index) for index in left}
        try:
            while running:
                wait([each for process, lines in running.values() for each in (process.sentinel, lines)])
                for index, (process, lines) in list(running.items()):
                    _pass_on(lines, say)
                    if process.is_alive():
                        continue
                    process.join()
                    del running[index]
                    if process.exitcode and left[index]:
                        left[index] -= 1
                        say(f"worker {index} ended with status {process.exitcode}: it is started again.")
                        running[index] = self._start(plan, index)
        finally:
            for process, _ in running.values():
                process.terminate()

    def _start(self, plan: SweepPlan, index: int) -> tuple[BaseProcess, Connection]:
        context = get_context("spawn")  # a forked process cannot use an accelerator
        lines, theirs = context.Pipe(duplex=False)
        shard = Shard(index, self.count)
        process = context.Process(target=_worker, args=(plan, shard, theirs, self.prepare), daemon=False)
        with _environment(index - 1, self.count):
            process.start()
        theirs.close()
        return process, lines


def _pass_on(lines: Connection, say: Say) -> None:
    """Print the lines that a worker has sent."""
    with suppress(EOFError, OSError):
        while lines.poll():
            say(lines.recv())


@contextmanager
def _environment(index: int, count: int) -> Iterator[None]:
    """Set the variables that a worker process starts with: its accelerator, its threads, and no bars."""
    wanted = {"TQDM_DISABLE": "1"}
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    known = devices.split(",") if devices else [str(each) for each in range(torch.cuda.device_count())]
    if len(known) > 1:
        wanted["CUDA_VISIBLE_DEVICES"] = known[index % len(known)]
    if "OMP_NUM_THREADS" not in os.environ:
        wanted["OMP_NUM_THREADS"] = str(max((os.cpu_count() or 1) // count, 1))
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _worker(plan: SweepPlan, shard: Shard, lines: Connection, prepare: Callable[[], object] | None) -> None:
    """Work as one process of `Jobs`."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if prepare is not None:
        prepare()
    recent: deque[str] = deque(maxlen=1)

    def say(line: str) -> None:
        if line.startswith("["):
            recent.append(line.partition("]")[0] + "]")
            lines.send(line)
        else:
            lines.send(f"{recent[-1] if recent else ''} {line.strip()}".strip())

    with suppress(KeyboardInterrupt):
        shard.work(plan, say)


def _end_with_parent() -> None:
    """End this process when its parent has ended, however that was."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
