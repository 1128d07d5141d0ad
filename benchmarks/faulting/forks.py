"""Run a function in a forked process that is killed, or finds the disk full, at a step of its writing.

Modules imported before the fork need not be imported again, so a try takes only the time of its work.
"""

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from prune_ssl.errors import PruneError
from prune_ssl.writing import steps
from prune_ssl.writing.steps import FAULT

KILLED, TERMINATED = -signal.SIGKILL, -signal.SIGTERM
YEAR = 365 * 86_400.0
REFUSED = 2
"""Exit status of one that ended with a PruneError, as that of the command line."""


def forked(act: Callable[[], object], fault: str = "", said: Path | None = None) -> int:
    """Run `act` in a forked process; return its exit status, or minus the signal that ended it.

    Args:
        act: what to run.
        fault: the fault, in the form of `prune_ssl.writing.steps.FAULT`, or `clock@17`: the clock of this
            process goes back and forth by a year from its 17th step on.
        said: file that gets what it prints, and its error or traceback (None: nothing).
    """
    child = begin(act, fault, said)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def forked_ranks(act: Callable[[], object], faults: Sequence[str], said: Path) -> list[int]:
    """Run `act` in processes that train together; return the exit status of each.

    Args:
        act: what each of them runs.
        faults: the fault of each, as in `forked`. If one fails, the others are terminated, as by torchrun.
        said: file that gets what the first one prints.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(len(faults))}
    children = dict[int, int]()
    for rank, fault in enumerate(faults):
        own = meeting | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        children[begin(act, fault, said.with_suffix(f".{rank}"), own)] = rank
    statuses = dict[int, int]()
    while children:
        child, status = os.wait()
        statuses[children.pop(child)] = os.waitstatus_to_exitcode(status)
        if status != 0:
            for other in children:
                os.kill(other, signal.SIGTERM)
    return [statuses[rank] for rank in sorted(statuses)]


def begin(
    act: Callable[[], object], fault: str, said: Path | None, environment: Mapping[str, str] | None = None
) -> int:
    """Start `act` in a forked process, and return the number of the process."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = 1
        os.environ |= environment or {}
        try:
            os.environ[FAULT] = fault
            if fault.startswith("clock@"):
                jump_the_clock(int(fault.partition("@")[2]))
            sys.stdout = sys.stderr = Path(said or os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
            act()
            status = 0
        except PruneError as error:
            print(f"error: {error}")
            status = REFUSED
        except SystemExit as error:
            status = int(error.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    return child


def jump_the_clock(number: int) -> None:
    """Let the clock of this process be a year late or early, in turn, from a step of its writing on."""
    plain_point, now, taken = steps.point, time.time, 0

    def counted(kind: str, path: Path) -> None:
        nonlocal taken
        taken += 1
        if taken >= number:
            late = YEAR if taken % 2 else -YEAR
            time.time = lambda: now() + late
            time.time_ns = lambda: int(1e9 * time.time())
        plain_point(kind, path)

    steps.point = counted


@contextmanager
def elsewhere(held: AbstractContextManager[object]) -> Iterator[int]:
    """Enter a context in another process, which leaves it at the end; give that process's number."""
    ready, over = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(over[1])
        with held:
            os.write(ready[1], b"1")
            os.read(over[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    try:
        yield child
    finally:
        os.close(over[1])
        os.waitpid(child, 0)
        for number in (*ready, over[0]):
            os.close(number)


def steps_of(act: Callable[[], object], trace: Path) -> list[tuple[str, str]]:
    """Run `act` in a forked process; return the kinds and paths of the steps of its writing."""
    status = forked(act, f"trace@{trace}", trace.with_suffix(".said"))
    assert status == 0, trace.with_suffix(".said").read_text()
    return read_trace(trace)


def read_trace(path: Path) -> list[tuple[str, str]]:
    """Return the kinds and paths of the steps that a trace tells."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [(kind, where) for _, kind, where in (line.split(" ", 2) for line in lines)]


def hidden(folder: Path) -> list[str]:
    """Return the names of leftovers in a folder, however deep."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*"))
