"""The private attributes of torch that prune_ssl needs, in one file: an upgrade breaks in one place.

torch (2.8 to 2.11) has public methods that add hooks to a module and none that list or drop them; a handle
removes only the hook that it came with. Whether a tensor was changed in place is known to `_version` alone.
"""

from collections.abc import Callable, Iterator

import torch
from torch import nn

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
"""The attributes of a module that hold its hooks by number."""


def hooks_of(module: nn.Module) -> Iterator[object]:
    """Yield the hooks of a module itself, not those of its submodules.

    >>> linear = nn.Linear(2, 2)
    >>> handle = linear.register_forward_hook(print)
    >>> list(hooks_of(linear)) == [print]
    True
    """
    for kind in HOOKS:
        yield from vars(module)[kind].values()


def drop_hooks(module: nn.Module, chosen: Callable[[object], bool] = lambda hook: True) -> None:
    """Drop the chosen hooks of a module itself; all of them unless `chosen` says which.

    >>> linear = nn.Linear(2, 2)
    >>> handle = linear.register_forward_hook(print)
    >>> drop_hooks(linear)
    >>> list(hooks_of(linear))
    []
    """
    for kind in HOOKS:
        held: dict[int, object] = vars(module)[kind]
        for number in [number for number, hook in held.items() if chosen(hook)]:
            del held[number]


def version_of(tensor: torch.Tensor) -> int:
    """Return how often a tensor was changed in place; to compare values instead, the host would wait.

    >>> weight = torch.zeros(2)
    >>> before = version_of(weight)
    >>> version_of(weight.add_(1)) > before
    True
    """
    return tensor._version


def own_parameter(module: nn.Module, name: str) -> torch.Tensor | None:
    """Return a parameter of a module as it is stored, without the properties of the module's class."""
    return module._parameters.get(name)
