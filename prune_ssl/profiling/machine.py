"""Owns what identifies a machine: times of another one mean nothing here."""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import transformers

_CPU_INFO = Path("/proc/cpuinfo")


def cpu_model() -> str:
    """Return the processor's name."""
    try:
        lines = _CPU_INFO.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.lower().startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return how many cores this process may use; containers and taskset often allow fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_facts(device: str) -> dict[str, str]:
    """Return what a table of times depends on besides the model and the conditions."""
    facts = {
        "node": platform.node(),
        "cpu": cpu_model(),
        "isa": torch.backends.cpu.get_cpu_capability(),
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
    }
    if device == "cuda":
        facts["accelerator"] = torch.cuda.get_device_name()
    return facts


# Parameters of glibc's mallopt, and what its own adaptation arrives at in a process that frees large blocks.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_AS_BEFORE = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20, _MMAP_MAX: 65_536}
_KEEP_ALL = {_TRIM_THRESHOLD: 2**31 - 1, _MMAP_MAX: 0}


@contextmanager
def steady_heap() -> Iterator[None]:
    """Let glibc keep freed memory for the duration, so that timings do not depend on the heap's history.

    Else it hands large blocks back to the system after some calls and not after others, and a forward pass
    that must have them back, page by page, takes up to a tenth longer. Memory is handed back at the end.
    Without glibc nothing is changed.
    """
    library = ctypes.CDLL(None) if platform.system() == "Linux" else None
    mallopt, trim = (getattr(library, name, None) for name in ("mallopt", "malloc_trim"))
    if mallopt is None or trim is None:
        yield
        return
    for name, value in _KEEP_ALL.items():
        mallopt(name, value)
    try:
        yield
    finally:
        for name, value in _AS_BEFORE.items():
            mallopt(name, value)
        trim(0)


@contextmanager
def thread_count(count: int) -> Iterator[None]:
    """Set torch's intra-op thread count for the duration."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
