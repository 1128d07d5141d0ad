"""The identity and the state of a machine: times from another machine do not hold here."""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch
import transformers

from prune_ssl.runtimes.registry import RUNTIMES

_CPU_INFO = Path("/proc/cpuinfo")


def cpu_model() -> str:
    """Return the name of the processor.

    >>> bool(cpu_model())
    True
    """
    try:
        lines = _CPU_INFO.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.lower().startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return how many cores this process may use. Containers and taskset often allow fewer than exist."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_facts(device: str) -> dict[str, str]:
    """Return the properties of the machine on which a table of times depends."""
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


def versions_of(runtime: str) -> dict[str, str]:
    """Return the versions of the packages of a runtime outside PyTorch, by their names."""
    return {name: version(name) for name in RUNTIMES[runtime].packages}


# Parameters of glibc's mallopt, and the values that glibc reaches in a process that frees large blocks.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_AS_BEFORE = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20, _MMAP_MAX: 65_536}
_KEEP_ALL = {_TRIM_THRESHOLD: 2**31 - 1, _MMAP_MAX: 0}


@contextmanager
def steady_heap() -> Iterator[None]:
    """Let glibc keep freed memory during a `with` block, so that timings do not depend on the heap's history.

    Otherwise glibc returns large blocks to the system after some calls and not after others. A forward pass
    that gets them again page by page takes up to a tenth longer. The memory is returned at the end. Without
    glibc nothing changes.
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
    """Set torch's intra-op thread count during a `with` block.

    >>> with thread_count(1):
    ...     torch.get_num_threads()
    1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
