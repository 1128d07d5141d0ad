"""Runs something in a forked process that is killed, or finds the disk full, at a step of its writing.

What is imported before the fork need not be imported again: each try takes what the work takes.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from prune_ssl.errors import PruneError
from prune_ssl.writing.steps import FAULT

KILLED = -signal.SIGKILL
REFUSED = 2
"""Exit status of one that ended with a PruneError, as that of the command line."""


def forked(act: Callable[[], object], fault: str = "", said: Path | None = None) -> int:
    """Run `act` in a forked process; return its exit status, or minus the signal that ended it.

    Args:
        act: what to run.
        fault: what goes wrong, as `prune_ssl.writing.steps.FAULT` has it.
        said: file that gets what it prints, and its error or traceback (None: nothing).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.environ[FAULT] = fault
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
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def steps_of(act: Callable[[], object], trace: Path) -> list[tuple[str, str]]:
    """Run `act` in a forked process; return the kinds and paths of the steps of its writing."""
    status = forked(act, f"trace@{trace}", trace.with_suffix(".said"))
    assert status == 0, trace.with_suffix(".said").read_text()
    lines = trace.read_text(encoding="utf-8").splitlines() if trace.exists() else []
    return [(kind, path) for _, kind, path in (line.split(" ", 2) for line in lines)]


def hidden(folder: Path) -> list[str]:
    """Return the names of leftovers in a folder, however deep."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*"))
