"""The timer of benchmarks that time training steps in turns."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def timed(device: str, wall: list[float], busy: list[float], keep: bool = True) -> Iterator[None]:
    """Append the milliseconds of the block, on the wall and of the processor; CUDA is waited for."""
    start, start_busy = time.perf_counter(), time.process_time()
    yield
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    if keep:
        wall.append(1000 * (time.perf_counter() - start))
        busy.append(1000 * (time.process_time() - start_busy))
