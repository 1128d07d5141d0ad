"""The forms of a model that stays in PyTorch: integers for its Linear layers, or bfloat16 for all of it."""

from collections.abc import Callable, Collection

import torch
from torch import nn

from prune_ssl.models.int8_linear import Int8Linear
from prune_ssl.runtimes.registry import BFLOAT16


def change_(model: nn.Module, form: str, layers: Collection[str]) -> None:
    """Give a model its form, in place.

    Args:
        model: The model, in float32 on the CPU.
        form: int8 or bfloat16.
        layers: The paths of the Linear layers that get integers.
    """
    if form == BFLOAT16:
        model.to(torch.bfloat16)
    for path in layers:
        linear = model.get_submodule(path)
        assert isinstance(linear, nn.Linear)
        model.set_submodule(path, Int8Linear(linear))


def called_linears(model: nn.Module, run: Callable[[], object]) -> set[str]:
    """Return the paths of the Linear layers that run as modules. Others give only their weights away.

    Args:
        model: The model.
        run: Runs the model once.
    """
    called: set[str] = set()

    def hook_of(path: str) -> torch.utils.hooks.RemovableHandle:
        module = model.get_submodule(path)
        return module.register_forward_hook(lambda *_: called.add(path))

    handles = [hook_of(path) for path, module in model.named_modules() if type(module) is nn.Linear]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return called
