"""Running something in a forked process that is killed, or finds the disk full, at a step of its writing."""

import os
import signal
import sys
import traceback
from pathlib import Path

from prune_ssl.writing.steps import FAULT

KILLED = -signal.SIGKILL


def forked(act, fault="", quiet=True):
    """Run `act` in a forked process; return its exit status, or minus the signal that ended it."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.environ[FAULT] = fault
            if quiet:
                sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            act()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def steps_of(act, trace: Path):
    """Run `act` in a forked process; return the kinds and paths of the steps of its writing."""
    assert forked(act, f"trace@{trace}", quiet=False) == 0
    lines = trace.read_text().splitlines() if trace.exists() else []
    trace.unlink(missing_ok=True)
    return [tuple(line.split(" ", 2)[1:]) for line in lines]


def hidden(folder: Path):
    """The names of leftovers in a folder, however deep."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*"))
