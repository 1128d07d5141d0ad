"""Run the cases of a kind in worker processes with limits on time and memory, and sort the outcomes."""

import importlib
import multiprocessing
import random
import resource
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from prune_ssl.errors import PruneError

KINDS = ("budgets", "recipes", "keeps", "configs", "audio", "metadata", "trials", "arpa")
MOST_SECONDS, MOST_BYTES = 20.0, 2 * 2**30
CHUNK = 50


class TooLong(BaseException):
    """A case ran out of time; no `except Exception` of the tool may swallow it."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one case: `taken`, `refused`, or a fault (`exception`, `wrong`, `slow`, `memory`)."""

    kind: str
    index: int
    outcome: str
    label: str = ""
    detail: str = ""
    seconds: float = 0.0

    @property
    def is_fault(self) -> bool:
        return self.outcome not in ("taken", "refused")


def run_kind(kind: str, seed: int, indices: range, jobs: int) -> Iterator[Finding]:
    """Yield the outcome of every case of a kind, in the order in which chunks are completed."""
    chunks = [indices[start : start + CHUNK] for start in range(0, len(indices), CHUNK)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        waiting = [(chunk, pool.submit(run_chunk, kind, seed, chunk)) for chunk in chunks]
        for chunk, found in waiting:
            try:
                yield from found.result()
            except BrokenProcessPool:
                yield Finding(kind, chunk[0], "exception", f"cases {chunk}", "the worker process died")
                return


def run_chunk(kind: str, seed: int, indices: range) -> list[Finding]:
    """Run cases in this process."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    return [run_case(kind, seed, index) for index in indices]


def run_case(kind: str, seed: int, index: int) -> Finding:
    """Run one case, in a folder of its own that is gone afterwards."""
    make: Any = importlib.import_module(f"fuzzing.{kind}").make
    place = Path(tempfile.mkdtemp(prefix=f"fuzz-{kind}-"))
    label = "(making the case)"
    began, before = time.monotonic(), _peak_bytes()
    previous = signal.signal(signal.SIGALRM, _time_is_over)
    try:
        case = make(random.Random(f"{seed}:{kind}:{index}"), place)
        label = case.label
        began = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
        case.act()
        outcome, detail = "taken", ""
    except PruneError as error:
        outcome, detail = "refused", str(error)
    except TooLong:
        outcome, detail = "slow", f"more than {MOST_SECONDS:g} s"
    except MemoryError:
        outcome, detail = "memory", "MemoryError"
    except AssertionError as error:
        outcome, detail = "wrong", f"{error}\n{traceback.format_exc(limit=-3)}"
    except Exception:
        outcome, detail = "exception", traceback.format_exc(limit=-6)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        shutil.rmtree(place, ignore_errors=True)
    if outcome in ("taken", "refused") and _peak_bytes() - before > MOST_BYTES:
        outcome, detail = "memory", f"{(_peak_bytes() - before) / 2**30:.1f} GiB more than before"
    return Finding(kind, index, outcome, label, detail, time.monotonic() - began)


def _time_is_over(_number: int, _frame: FrameType | None) -> None:
    raise TooLong


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
