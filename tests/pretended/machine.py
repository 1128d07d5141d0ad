"""A machine with one or more pretended GPUs: what torch, accelerate and transformers ask of CUDA."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from tests.pretended.device import COUNTED, CUDA, PretendedDevice, line_of_caller

RESIDENT = 1_000_000
"""Bytes that the pretended device says are allocated."""


def _wait(*_args: object) -> None:
    COUNTED.waits["synchronize", line_of_caller()] += 1


def _nothing(*_args: object, **_kwargs: object) -> None:
    """Do nothing."""


def _returning(value: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: value


CUDA_CALLS: dict[str, Callable[..., Any]] = {
    "_lazy_init": _nothing,
    "set_device": _nothing,
    "current_device": _returning(0),
    "manual_seed": _nothing,
    "manual_seed_all": _nothing,
    "empty_cache": _nothing,
    "synchronize": _wait,
    "get_device_name": _returning("Pretended GPU"),
    "memory_allocated": _returning(RESIDENT),
    "max_memory_allocated": _returning(RESIDENT),
    "reset_peak_memory_stats": _nothing,
    "get_rng_state": lambda *args: torch.zeros(16, dtype=torch.uint8),
    "set_rng_state": _nothing,
    "is_bf16_supported": _returning(True),
}
"""Functions of torch.cuda that need a driver -> their pretended forms."""


@contextmanager
def pretended_machine(gpus: int = 1) -> Iterator[PretendedDevice]:
    """Let this machine seem to have GPUs, inside the context; Trainer then trains on cuda:0."""
    with ExitStack() as stack:
        enter = stack.enter_context
        for name, function in CUDA_CALLS.items():
            enter(patch.object(torch.cuda, name, function))
        enter(patch.object(torch.cuda, "device_count", _returning(gpus)))
        enter(patch("torch.cuda.amp.common.amp_definitely_not_available", _returning(False)))
        enter(patch("transformers.training_args.is_torch_bf16_gpu_available", _returning(True)))
        enter(patch.object(nn.RNNBase, "flatten_parameters", _nothing))
        enter(patch("accelerate.state.PartialState.default_device", property(_returning(CUDA))))
        enter(patch.dict("os.environ", {"ACCELERATE_TORCH_DEVICE": "cuda:0"}))
        # Wrapped tensors are refused as quantised ones; here the wrapper is the device.
        enter(patch("prune_ssl.tracing.tracer.require_plain", _nothing))
        enter(patch("prune_ssl.artifacts.contents.require_plain", _nothing))
        # In inference mode torch hands composite operations over whole.
        enter(patch.object(torch, "inference_mode", lambda mode=True: torch.no_grad()))
        lifts = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # new tensors are made on the CPU, and then moved
        stack.callback(torch._C._set_only_lift_cpu_tensors, lifts)
        swaps = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swaps)
        COUNTED.clear()
        yield enter(PretendedDevice())
