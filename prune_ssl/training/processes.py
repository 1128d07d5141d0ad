"""One process of several (torchrun, accelerate launch): what the first alone does, and what all wait for."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, reduce

from prune_ssl.errors import PruneError

Made = TypeVar("Made")


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


def wait_for_all() -> None:
    """Wait until all processes have come here."""
    _state().wait_for_everyone()


def from_first(make: Callable[[], Made]) -> Made:
    """Return on every process what the first one made, such as measured times, which differ by process.

    Raises:
        PruneError: it was raised there; then every process raises it.
    """
    state = _state()
    made: list[Any] = [None]
    if state.is_main_process:
        try:
            made = [make()]
        except PruneError as error:
            made = [error]
    if state.num_processes > 1:
        made = broadcast_object_list(made)
    if isinstance(made[0], PruneError):
        raise made[0]
    return cast(Made, made[0])


def summed(values: torch.Tensor) -> torch.Tensor:
    """Return the sum of a tensor over all processes, on its device. All of them must come here."""
    state = _state()
    if state.num_processes == 1:
        return values
    whole = reduce(values.to(state.device), "sum")
    assert isinstance(whole, torch.Tensor)
    return whole.to(values.device)


@contextmanager
def first_before_others() -> Iterator[None]:
    """Let the first process through alone, then the others, who find what it left (a cached table)."""
    with _state().main_process_first():
        yield
