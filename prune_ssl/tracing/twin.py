"""The meta-device twin: the model's structure without its weights, on which the graph is traced."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from prune_ssl.errors import ModelError
from prune_ssl.tracing.cost import SAMPLE_RATE_HZ, Clock, conv_frames, ticks

# Two lengths tell every clock apart: they share no residue of the strides in use.
PROBE_SECONDS = (1.0, 1.37)
# transformers' x-vector head convolves with the weight of a Linear that is itself never called.
CALLED_BY_PARENT = {"TDNNLayer": "kernel"}


def make_twin(model: nn.Module) -> nn.Module:
    """Return a copy of `model` on the meta device, hooks dropped, weight norms folded, in eval mode.

    Parameters are never copied: the copy's memo maps each to an empty meta tensor, so a model of any size
    costs kilobytes.
    """
    memo: dict[int, object] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta", dtype=torch.float32))
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    for module in model.modules():
        if any(
            isinstance(value, torch.Tensor) and value.grad_fn is not None for value in vars(module).values()
        ):
            # Old-style weight_norm keeps its product as a plain attribute with a graph, which cannot be
            # copied.
            memo.update({id(v): None for v in vars(module).values() if isinstance(v, torch.Tensor)})
    twin = copy.deepcopy(model, memo)
    for module in twin.modules():
        _drop_hooks(module)
        _fold_weight_norm(module)
    return twin.eval()


def _drop_hooks(module: nn.Module) -> None:
    keep_old_norm: list[Any] = [
        hook for hook in module._forward_pre_hooks.values() if type(hook).__name__ == "WeightNorm"
    ]
    module._forward_pre_hooks.clear()
    module._forward_hooks.clear()
    module._backward_hooks.clear()
    module._backward_pre_hooks.clear()
    for hook in keep_old_norm:
        direction = module.get_parameter(f"{hook.name}_v")
        del module._parameters[f"{hook.name}_v"], module._parameters[f"{hook.name}_g"]
        vars(module).pop(hook.name, None)
        module.register_parameter(hook.name, nn.Parameter(torch.empty_like(direction)))


def _fold_weight_norm(module: nn.Module) -> None:
    """Put plain parameters where parametrizations are, without touching the class.

    A copy of a parametrized module shares its generated class with the original, and
    `remove_parametrizations` deletes the property from that class: the user's model would lose its weight.
    """
    if not parametrize.is_parametrized(module):
        return
    plain = {name: getattr(module, name) for name in module.parametrizations}  # type: ignore[union-attr]
    module.__class__ = type(module).__bases__[0]
    del module._modules["parametrizations"]
    for name, value in plain.items():
        module.register_parameter(name, nn.Parameter(torch.empty_like(value)))


def probe_input(seconds: float) -> torch.Tensor:
    """Return (1, N) samples on the meta device."""
    return torch.empty(1, round(seconds * SAMPLE_RATE_HZ), device="meta")


def _count_positions(
    twin: nn.Module, leaves: Iterable[tuple[str, nn.Module]], seconds: float
) -> dict[str, int]:
    """Run the twin once and return how many output positions each Linear or convolution computed."""
    counts: dict[str, int] = {}
    handles = []

    def hook_for(path: str, channels: int):  # type: ignore[no-untyped-def]
        def hook(_module: nn.Module, _args: object, output: torch.Tensor) -> None:
            counts[path] = counts.get(path, 0) + output.numel() // channels

        return hook

    for path, leaf in leaves:
        channels = leaf.out_features if isinstance(leaf, nn.Linear) else leaf.out_channels
        parent = twin.get_submodule(path.rpartition(".")[0])
        called = parent if CALLED_BY_PARENT.get(type(parent).__name__) == path.rpartition(".")[2] else leaf
        handles.append(called.register_forward_hook(hook_for(path, int(channels))))  # type: ignore[arg-type]
    try:
        with torch.no_grad():
            twin(probe_input(seconds))
    finally:
        for handle in handles:
            handle.remove()
    return counts


def find_clocks(twin: nn.Module, kernels: tuple[tuple[int, int], ...], convs: list[str]) -> dict[str, Clock]:
    """Return how often each Linear and Conv1d of the twin runs, checked at two audio lengths.

    Raises:
        ModelError: a module's count fits no known clock (its cost would be a guess).
    """
    leaves = [(path, leaf) for path, leaf in twin.named_modules() if isinstance(leaf, nn.Linear | nn.Conv1d)]
    counts = [_count_positions(twin, leaves, seconds) for seconds in PROBE_SECONDS]
    frames = [conv_frames(round(seconds * SAMPLE_RATE_HZ), kernels) for seconds in PROBE_SECONDS]
    last = len(kernels) - 1
    clocks: dict[str, Clock] = {}
    for path, leaf in leaves:
        seen = tuple(count.get(path, 0) for count in counts)
        own = [Clock("conv", convs.index(path))] if path in convs else []
        known = [*own, Clock("conv", last), Clock("conv", last, 1), Clock("once"), Clock("never")]
        known += [Clock("conv", last, offset) for offset in (-2, -4, -6, -8, -14)]  # valid TDNN convolutions
        for clock in known:
            if seen == tuple(ticks(clock, each) for each in frames):
                clocks[path] = clock
                break
        else:
            raise ModelError(
                f"{path} ({type(leaf).__name__}) runs {seen[0]} times for {PROBE_SECONDS[0]} s of audio and "
                f"{seen[1]} times for {PROBE_SECONDS[1]} s, which is no multiple of the frames that "
                "prune_ssl knows; its MACs cannot be counted truthfully. Prune the backbone without "
                "this head."
            )
    return clocks
