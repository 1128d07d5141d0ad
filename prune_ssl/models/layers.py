"""Changes of one encoder layer: its own account of its sizes, emptied blocks, a layer that is gone."""

from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from prune_ssl.models.attention import HeldHeads
from prune_ssl.models.empty import (
    BiasAttention,
    BiasOnly,
    BiasPostNormAttention,
    EmptyConvolution,
    Nothing,
    removed_layer_of,
)
from prune_ssl.models.family import AttentionRoles, ConvolutionRoles, Family, FeedForwardRoles


def submodule_or_none(module: nn.Module, path: str) -> nn.Module | None:
    """Return the submodule at `path`, or None where there is none."""
    for name in path.split("."):
        found = getattr(module, name, None)
        if not isinstance(found, nn.Module):
            return None
        module = found
    return module


def _owner(module: nn.Module, path: str) -> tuple[Any, str]:
    parent, _, leaf = path.rpartition(".")
    return module.get_submodule(parent), leaf


def stated_size(module: nn.Module, path: str) -> int:
    """Return a size that a module, or a submodule of it, states as an attribute.

    >>> stated_size(nn.Sequential(nn.Linear(2, 3)), "0.out_features")
    3
    """
    owner, leaf = _owner(module, path)
    return int(getattr(owner, leaf))


def is_alive(layer: nn.Module, attention: AttentionRoles) -> bool:
    """Return whether the layer's attention has heads left."""
    block = submodule_or_none(layer, attention.path)
    values = None if block is None else submodule_or_none(block, attention.values)
    return isinstance(values, nn.Linear | nn.MultiheadAttention)


def state_heads(attention: nn.Module, roles: AttentionRoles, heads: int, head_size: int) -> None:
    """Make an attention module's own numbers agree with `heads` heads of `head_size`.

    The scale of its scores stays that of the original size.
    """
    owner, leaf = _owner(attention, roles.head_size)
    setattr(owner, leaf, head_size)
    # Rotary positions turn the residual stream itself, in as many slices as there were heads.
    if roles.kind(attention) != "rotary":
        setattr(owner, roles.head_count.rpartition(".")[2], heads)
    if hasattr(owner, "all_head_size"):
        owner.all_head_size = heads * head_size


def what_is_left(linear: nn.Module, keep_bias: bool) -> BiasOnly:
    """Return a BiasOnly with the (same) bias of a Linear, or zeros."""
    bias = getattr(linear, "bias", None)
    left = BiasOnly(
        linear.size if isinstance(linear, BiasOnly) else len(linear.get_parameter("weight")), False
    )
    if keep_bias and bias is not None:
        left.register_parameter("bias", bias)
    return left


def empty_attention(
    layer: nn.Module, roles: AttentionRoles, config: PreTrainedConfig | None, keep_bias: bool
) -> None:
    """Replace the attention by its output bias (all heads gone) or by zeros (the block gone)."""
    block = layer.get_submodule(roles.path)
    left = what_is_left(block.get_submodule(roles.output), keep_bias)
    empty: nn.Module
    if roles.opened is not None:
        empty = roles.opened.emptied(block, left)
    elif roles.post_norm:
        block.set_submodule(roles.output, left)
        empty = BiasPostNormAttention(block.get_submodule(roles.post_norm.rpartition(".")[0]), config)
    else:
        empty = BiasAttention(roles.output, left, config)
    empty.train(block.training)
    layer.set_submodule(roles.path, empty)


def empty_feed_forward(layer: nn.Module, roles: FeedForwardRoles, keep_bias: bool) -> None:
    """Leave the output bias (all neurons gone) or zeros (the block gone)."""
    left = what_is_left(layer.get_submodule(roles.second), keep_bias)
    layer.set_submodule(roles.first, Nothing().train(layer.training))
    layer.set_submodule(roles.second, left.train(layer.training))


def empty_convolution(layer: nn.Module, roles: ConvolutionRoles) -> None:
    """Replace a conformer's convolution module by zeros."""
    layer.set_submodule(roles.path, EmptyConvolution().train(layer.training))


def remove_layer(backbone: nn.Module, family: Family, index: int) -> None:
    """Replace a whole layer by one that passes its input on."""
    path = family.layer_path(index)
    layer = backbone.get_submodule(path)
    config = getattr(backbone, "config", None)
    stock: Any = type(layer)
    removed: Any = removed_layer_of(stock)(config, family.layers_return_bias)
    attention = submodule_or_none(layer, family.attention.path)
    if any(getattr(attention, name, None) is not None for name in family.attention.shared):
        empty_attention(layer, family.attention, config, keep_bias=False)
        removed.add_module(family.attention.path, layer.get_submodule(family.attention.path))
    removed.train(layer.training)
    backbone.set_submodule(path, removed)


def open_attention(
    layer: nn.Module, roles: AttentionRoles, config: PreTrainedConfig | None, held: HeldHeads
) -> None:
    """Give a layer the attention of ours that can hold any subset of its heads."""
    assert roles.opened is not None
    block = layer.get_submodule(roles.path)
    made = roles.opened.opened(block, config, held)
    layer.set_submodule(roles.path, made.train(block.training))


def widen_convolutions_(backbone: nn.Module, paths: Sequence[str], widths: Sequence[int]) -> None:
    """Give convolutions that follow each other these numbers of channels, with untrained weights."""
    read: int | None = None
    for path, width in zip(paths, widths, strict=True):
        old = backbone.get_submodule(path)
        assert isinstance(old, nn.Conv1d)
        made = nn.Conv1d(
            old.in_channels if read is None else read,
            width,
            old.kernel_size[0],
            old.stride[0],
            old.padding if isinstance(old.padding, str) else old.padding[0],
            bias=old.bias is not None,
            device=old.weight.device,
            dtype=old.weight.dtype,
        )
        backbone.set_submodule(path, made)
        read = width


def scale_last_convolution_(backbone: nn.Module, family: Family) -> None:
    """Multiply each channel of the frontend by a stored factor, behind the last activation.

    A norm follows, so that the factors can be folded into no weight. They are a depthwise convolution of
    width 1, which the tracer and the counters know.
    """
    path = family.convs(backbone)[-1]
    layer, conv = backbone.get_submodule(path.rpartition(".")[0]), backbone.get_submodule(path)
    assert isinstance(conv, nn.Conv1d)
    factors = nn.Conv1d(conv.out_channels, conv.out_channels, 1, groups=conv.out_channels, bias=False)
    layer.set_submodule("activation", nn.Sequential(layer.get_submodule("activation"), factors))
