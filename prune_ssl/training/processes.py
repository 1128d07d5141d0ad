"""One process of several (torchrun, accelerate launch): what the first alone does, and what all wait for."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import PartialState


def launched() -> int:
    """Return how many processes the launcher started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def cpu_arguments() -> dict[str, Any]:
    """Return the TrainingArguments that make several processes without an accelerator one run.

    Without them each would train a model of its own, and say nothing.
    """
    alone = launched() == 1 or torch.accelerator.is_available()
    return {} if alone else {"use_cpu": True, "ddp_backend": "gloo"}


def _state() -> PartialState:
    return PartialState(**({"cpu": True, "backend": "gloo"} if cpu_arguments() else {}))


def is_first() -> bool:
    """Return whether this is the process that writes and prints; the only one is."""
    return bool(_state().is_main_process)


def on_first(act: Callable[[], object]) -> None:
    """Do something on the first process, once all have come here; the others wait until it is done."""
    state = _state()
    state.wait_for_everyone()
    if state.is_main_process:
        act()
    state.wait_for_everyone()


@contextmanager
def first_before_others() -> Iterator[None]:
    """Let the first process through alone, then the others, who find what it left (a cached table)."""
    with _state().main_process_first():
        yield
