"""Owns what identifies a machine: times of another one mean nothing here."""

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


@contextmanager
def thread_count(count: int) -> Iterator[None]:
    """Set torch's intra-op thread count for the duration."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
