"""The twin of a model: its structure on the meta device, without weights, on which the graph is traced."""

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import UnionType
from typing import TypeAlias

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.weight_norm import WeightNorm

from prune_ssl.errors import ModelError
from prune_ssl.models import Family
from prune_ssl.models.attention import HeldHeads, OpenAttention
from prune_ssl.models.inputs import SAMPLE_RATE_HZ
from prune_ssl.models.layers import is_alive, open_attention, stated_size
from prune_ssl.models.registry import input_shape
from prune_ssl.models.torch_internals import drop_hooks, hooks_of
from prune_ssl.tracing.cost import NEVER, Clock, conv_frames
from prune_ssl.tracing.example import Example, Inputs, call

PROBE_SECONDS = (1.0, 1.37, 2.21)
"""Two lengths fix a clock that is linear in the frames, and the third one checks it."""
CALLED_BY_PARENT = {"TDNNLayer": "kernel"}
"""Class -> its Linear whose weight it uses without a call, as the x-vector head of transformers does."""
Counted: TypeAlias = nn.Linear | nn.Conv1d
"""The modules whose multiply-adds are counted."""


def make_twin(model: nn.Module) -> nn.Module:
    """Return a copy of `model` on the meta device, without hooks and weight norms, in eval mode.

    Parameters are never copied: the memo of the copy maps each to an empty meta tensor. So the twin costs
    kilobytes, whatever the size of the model.

    Raises:
        ModelError: the model holds an object that cannot be copied.
    """
    memo = shared_hooks(model)
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta", dtype=torch.float32))
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    for module in model.modules():
        if any(
            isinstance(value, torch.Tensor) and value.grad_fn is not None for value in vars(module).values()
        ):
            # Old-style weight_norm keeps its product as a plain attribute. It has a history, so that it
            # cannot be copied.
            memo.update({id(v): None for v in vars(module).values() if isinstance(v, torch.Tensor)})
    try:
        twin = copy.deepcopy(model, memo)
    except Exception as error:  # a stranger may hold locks, open files, tensors with a history
        raise ModelError(
            f"{type(model).__name__} cannot be copied, which tracing needs: {error}. Take what is no module, "
            "parameter or plain value out of it."
        ) from error
    for module in twin.modules():
        _fold_old_weight_norm(module)
        drop_hooks(module)
        _fold_weight_norm(module)
    return twin.eval()


def shared_hooks(model: nn.Module) -> dict[int, object]:
    """Return a memo for deepcopy that shares the hooks; to copy a bound method would copy its whole owner."""
    hooks = [hook for module in model.modules() for hook in hooks_of(module)]
    return {id(hook): hook for hook in hooks if not isinstance(hook, WeightNorm)}


def open_attentions(backbone: nn.Module, family: Family) -> None:
    """Put prune_ssl's attention in the place of a stock one that calls a function without a graph."""
    roles = family.attention
    if roles.opened is None:
        return
    for layer in family.layers(backbone):
        if is_alive(layer, roles) and not isinstance(layer.get_submodule(roles.path), OpenAttention):
            block = layer.get_submodule(roles.path)
            count, size = (stated_size(block, name) for name in (roles.head_count, roles.head_size))
            config = getattr(backbone, "config", None)
            open_attention(layer, roles, config, HeldHeads(range(count), count, size))


def kernels_of(backbone: nn.Module, family: Family, convs: list[nn.Conv1d]) -> tuple[tuple[int, int], ...]:
    """Return (kernel, stride) of each step that shortens time, in order.

    The steps are the filterbank or the convolutions, the stacking, the squeezing, and last the strided
    convolutions of an adapter. Padding by p counts as a kernel that is 2p shorter.
    """
    kernels = [
        ((int(conv.kernel_size[0]) - 1) * int(conv.dilation[0]) + 1 - 2 * _padding(conv), int(conv.stride[0]))
        for conv in convs
    ]
    kernels = [*family.input.kernels(), *kernels]
    if family.squeeze:
        factor = int(getattr(backbone.config, family.squeeze))
        kernels.append((factor, factor))
    for path, conv in backbone.named_modules():
        strided = (
            bool(family.adapter)
            and path.startswith(f"{family.adapter}.")
            and path.endswith((".conv", ".residual_conv"))
        )
        if strided and isinstance(conv, nn.Conv1d):
            kernels.append((int(conv.kernel_size[0]) - 2 * _padding(conv), int(conv.stride[0])))
    return tuple(kernels)


def _padding(conv: nn.Conv1d) -> int:
    """Return the padding on one side; "same" (with stride 1) pads half of the reach of the kernel."""
    if isinstance(conv.padding, str):
        return (int(conv.kernel_size[0]) - 1) * int(conv.dilation[0]) // 2 if conv.padding == "same" else 0
    return int(conv.padding[0])


def encoder_kernel(family: Family, convs: list[str]) -> int:
    """Return the index, among the kernels, of the last one before the encoder."""
    return len(family.input.kernels()) + len(convs) - 1 + bool(family.squeeze)


def _fold_old_weight_norm(module: nn.Module) -> None:
    """Put a plain parameter where a hook of old-style weight norm would compute one."""
    for hook in [hook for hook in hooks_of(module) if isinstance(hook, WeightNorm)]:
        direction = module.get_parameter(f"{hook.name}_v")
        delattr(module, f"{hook.name}_v")
        delattr(module, f"{hook.name}_g")
        vars(module).pop(hook.name, None)
        module.register_parameter(hook.name, nn.Parameter(torch.empty_like(direction)))


def _fold_weight_norm(module: nn.Module) -> None:
    """Put plain parameters in the place of parametrizations; the class itself stays as it is.

    A copy of a parametrized module shares its generated class with the original. `remove_parametrizations`
    deletes the property from that class, so that the user's model would lose its weight.
    """
    if not parametrize.is_parametrized(module):
        return
    names = [name for name, _ in module.get_submodule("parametrizations").named_children()]
    plain = {name: getattr(module, name) for name in names}
    module.__class__ = type(module).__bases__[0]
    delattr(module, "parametrizations")
    for name, value in plain.items():
        module.register_parameter(name, nn.Parameter(torch.empty_like(value)))


def probe_input(backbone: nn.Module, family: Family, seconds: float) -> Inputs:
    """Return the input for `seconds` of audio on the meta device: (1, N) samples or (1, T, F) features."""
    if isinstance(family.input, Example):
        return family.input.at(seconds, "meta")
    return torch.empty(input_shape(backbone, seconds, family), device="meta")


def probe_seconds(family: Family) -> float:
    """Return the length of the input with which a model is traced."""
    return family.input.seconds if isinstance(family.input, Example) else PROBE_SECONDS[0]


def on_meta(family: Family) -> AbstractContextManager[object]:
    """Return a context in which new tensors are meta tensors, for the families that need it: it is slow."""
    return torch.device("meta") if family.makes_constants else nullcontext()


def _count_positions(
    twin: nn.Module,
    backbone: nn.Module,
    family: Family,
    leaves: Sequence[tuple[str, Counted]],
    inputs: Inputs,
) -> dict[str, int]:
    """Run the twin once and return the number of positions at which each Linear or convolution ran."""
    counts: dict[str, int] = {}
    handles = []

    def hook_for(path: str, channels: int) -> Callable[[nn.Module, object, torch.Tensor], None]:
        def hook(_module: nn.Module, _args: object, output: torch.Tensor) -> None:
            counts[path] = counts.get(path, 0) + output.numel() // channels

        return hook

    for path, leaf in leaves:
        channels = leaf.out_features if isinstance(leaf, nn.Linear) else leaf.out_channels
        parent = twin.get_submodule(path.rpartition(".")[0])
        called = parent if CALLED_BY_PARENT.get(type(parent).__name__) == path.rpartition(".")[2] else leaf
        handles.append(called.register_forward_hook(hook_for(path, channels)))
    try:
        # The pretraining model of torchaudio wants labels. Its head does not run in inference.
        runs = backbone if family.library == "torchaudio" else twin
        with torch.no_grad(), on_meta(family):
            call(runs, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return counts


def find_clocks(
    twin: nn.Module,
    backbone: nn.Module,
    family: Family,
    kernels: tuple[tuple[int, int], ...],
    convs: list[str],
) -> dict[str, Clock]:
    """Return how often each Linear and Conv1d of the twin runs, checked at three audio lengths.

    Raises:
        ModelError: the count of a module is not linear in any frames, so that its cost would be a guess.
    """
    known: UnionType = Counted | nn.Conv2d if isinstance(family.input, Example) else Counted
    leaves = [(path, leaf) for path, leaf in twin.named_modules() if isinstance(leaf, known)]
    fixed = family.input.fixed_samples(getattr(backbone, "config", None)) is not None
    lengths = family.input.probes() if isinstance(family.input, Example) else PROBE_SECONDS
    counts = [
        _count_positions(twin, backbone, family, leaves, probe_input(backbone, family, seconds))
        for seconds in lengths[: 1 if fixed else None]
    ]
    if fixed:
        return {path: Clock(0, (counts[0].get(path, 0), 0, 0)) for path, _ in leaves}
    frames = [conv_frames(round(seconds * SAMPLE_RATE_HZ), kernels) for seconds in lengths]
    before = len(family.input.kernels())
    clocks: dict[str, Clock] = {}
    for path, leaf in leaves:
        seen = [count.get(path, 0) for count in counts]
        own = [before + convs.index(path)] if path in convs else []
        places = [*own, *range(max(before + len(convs) - 1, 0), len(kernels))]
        found = (_linear_clock(seen, [each[place] for each in frames], place) for place in places)
        clock = next((clock for clock in found if clock is not None), None)
        if clock is None:
            raise ModelError(
                f"{path} ({type(leaf).__name__}) runs {', '.join(map(str, seen))} times for "
                f"{', '.join(map(str, lengths))} s of audio, which is not linear in the frames that "
                "prune_ssl knows; its MACs cannot be counted truthfully. Prune the backbone without "
                "this head."
            )
        clocks[path] = clock
    return clocks


def _linear_clock(seen: list[int], frames: list[int], index: int) -> Clock | None:
    """Return the clock through all points (frames, seen), or None."""
    if not any(seen):
        return NEVER
    slope, rest = divmod(seen[1] - seen[0], frames[1] - frames[0])
    constant = seen[0] - slope * frames[0]
    if rest or slope < 0 or any(count != constant + slope * t for count, t in zip(seen, frames, strict=True)):
        return None
    return Clock(index, (constant, slope, 0))
