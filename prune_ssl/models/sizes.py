"""The sizes of one encoder layer: read off its modules, given to a stock layer, and kept in a config."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import TypeAlias

from torch import nn
from transformers import PreTrainedConfig

from prune_ssl.models.attention import HeldHeads, OpenAttention, ResidualLeft
from prune_ssl.models.empty import RemovedLayer
from prune_ssl.models.family import AttentionRoles, ConvolutionRoles, Family
from prune_ssl.models.layers import (
    empty_attention,
    empty_convolution,
    empty_feed_forward,
    is_alive,
    open_attention,
    remove_layer,
    state_heads,
    stated_size,
    submodule_or_none,
)

SizeFields: TypeAlias = dict[str, int | list[int] | list[str]]
"""An entry of the config's `pruned_layers`."""


@dataclass(frozen=True)
class LayerSizes:
    """The sizes of one encoder layer; a size of None is the one that the config states for all layers.

    The law that holds for every family: after `sizes.give(backbone, family, index, config)` the layer at
    `index` reads as `sizes` again.
    """

    heads: int | None = None
    head_dim: int | None = None
    """Dimensions of a head, where they are not the original ones."""
    kept_heads: tuple[int, ...] | None = None
    """Original numbers of the heads, for an attention that has to know them."""
    neurons: Mapping[str, int] = field(default_factory=dict)
    """Config field of a feed-forward -> its neurons."""
    channels: int | None = None
    """Channels of the convolution module."""
    gone: tuple[str, ...] = ()
    """Blocks that give zeros; ("layer",) where the whole layer passes its input on."""

    @property
    def is_removed(self) -> bool:
        """Whether the whole layer is gone."""
        return "layer" in self.gone

    @classmethod
    def from_config(cls, fields: Mapping[str, object], family: Family) -> "LayerSizes":
        """Return the sizes that an entry of `pruned_layers` says.

        >>> from prune_ssl.models import FAMILIES
        >>> LayerSizes.from_config({"intermediate_size": 8}, FAMILIES["hubert"]).neurons
        {'intermediate_size': 8}
        """
        kept = fields.get("heads")
        gone = fields.get("removed", ())
        return cls(
            heads=_number(fields, "num_attention_heads"),
            head_dim=_number(fields, "head_dim"),
            kept_heads=tuple(kept) if isinstance(kept, list | tuple) else None,
            neurons={ffn.field: int(str(fields[ffn.field])) for ffn in family.ffns if ffn.field in fields},
            channels=_number(fields, "conv_channels"),
            gone=tuple(gone) if isinstance(gone, list | tuple) else (),
        )

    def to_config(self) -> SizeFields:
        """Return the entry of `pruned_layers` that says these sizes.

        >>> LayerSizes(heads=2, gone=("feed_forward",)).to_config()
        {'num_attention_heads': 2, 'removed': ['feed_forward']}
        """
        fields: SizeFields = {}
        if self.heads is not None:
            fields["num_attention_heads"] = self.heads
        if self.head_dim is not None:
            fields["head_dim"] = self.head_dim
        if self.kept_heads is not None:
            fields["heads"] = list(self.kept_heads)
        fields |= self.neurons
        if self.channels is not None:
            fields["conv_channels"] = self.channels
        if self.gone:
            fields["removed"] = list(self.gone)
        return fields

    @classmethod
    def read(cls, layer: nn.Module, family: Family, head_size: int) -> "LayerSizes":
        """Return the sizes that a layer's modules have.

        Args:
            layer: an encoder layer, whole or cut.
            family: of its model.
            head_size: the original dimensions of a head.
        """
        if isinstance(layer, RemovedLayer):
            return cls(gone=("layer",))
        sizes = cls._read_attention(layer, family.attention, head_size)
        neurons, gone = {}, list(sizes.gone)
        for ffn in family.ffns:
            first = submodule_or_none(layer, ffn.first)
            neurons[ffn.field] = first.out_features if isinstance(first, nn.Linear) else 0
            if not neurons[ffn.field] and _gives_nothing(layer, ffn.second):
                gone.append(ffn.block)
        channels = None
        if family.convolution is not None:
            second = submodule_or_none(layer, f"{family.convolution.path}.{family.convolution.second}")
            channels = second.in_channels if isinstance(second, nn.Conv1d) else 0
        return replace(sizes, neurons=neurons, channels=channels, gone=tuple(gone))

    @classmethod
    def _read_attention(cls, layer: nn.Module, roles: AttentionRoles, head_size: int) -> "LayerSizes":
        if not is_alive(layer, roles):
            empty = _gives_nothing(layer, f"{roles.path}.{roles.output}")
            return cls(heads=0, gone=("attention",) if empty else ())
        block = layer.get_submodule(roles.path)
        size = stated_size(block, roles.head_size)
        output = block.get_submodule(roles.output)
        assert isinstance(output, nn.Linear)
        kept = block.heads if isinstance(block, OpenAttention) else None
        return cls(
            heads=output.in_features // size,
            head_dim=None if size == head_size else size,
            kept_heads=None if kept is None else tuple(kept),
        )

    def give(self, backbone: nn.Module, family: Family, index: int, config: PreTrainedConfig) -> None:
        """Give these sizes to the stock layer at `index`, with untrained weights.

        A checkpoint is loaded into the skeleton that comes of it. Empty blocks become their bias, those that
        are gone give zeros, and a layer that is gone passes its input on.
        """
        if self.is_removed:
            remove_layer(backbone, family, index)
            return
        layer = backbone.get_submodule(family.layer_path(index))
        if self.heads is not None:
            self._give_attention(layer, family.attention, config)
        for ffn in family.ffns:
            width = self.neurons.get(ffn.field)
            if width == 0:
                empty_feed_forward(layer, ffn, keep_bias=ffn.block not in self.gone)
            elif width is not None:
                widen(layer, ffn.first, outputs=width)
                widen(layer, ffn.second, inputs=width)
        roles = family.convolution
        if roles is not None and self.channels is not None:
            if self.channels == 0:
                empty_convolution(layer, roles)
            else:
                _shrink_convolution(layer.get_submodule(roles.path), roles, self.channels)

    def _give_attention(self, layer: nn.Module, roles: AttentionRoles, config: PreTrainedConfig) -> None:
        if not self.heads:
            empty_attention(layer, roles, config, keep_bias="attention" not in self.gone)
            return
        original = stated_head_size(config)
        size = self.head_dim or original
        block = layer.get_submodule(roles.path)
        for path in roles.projections:
            widen(block, path, outputs=self.heads * size)
        widen(block, roles.output, inputs=self.heads * size)
        for path in dict.fromkeys(path for path, _ in roles.per_head + roles.per_dimension):
            _shrink_parameter(block, path, roles, self.heads, size)
        if config.position_size is not None and roles.reads_positions:
            widen(block, roles.reads_positions, inputs=config.position_size)
        if roles.by_slices:
            widen(block, roles.by_slices, inputs=original)
        state_heads(block, roles, self.heads, size)
        if hasattr(block, "scaling"):
            block.scaling = original ** (-0.5)
        if roles.opened is not None:
            dims, scales = config.residual_dims, config.residual_scales
            left = None if dims is None else ResidualLeft(dims, scales)
            held = HeldHeads(self.kept_heads or (), config.num_attention_heads, size, left)
            open_attention(layer, roles, config, held)


def stated_head_size(config: PreTrainedConfig) -> int:
    """Return the original dimensions of a head, as a config says them."""
    stated = getattr(config, "head_size", None)
    return int(stated or config.hidden_size // config.num_attention_heads)


def widen(block: nn.Module, path: str, *, inputs: int | None = None, outputs: int | None = None) -> None:
    """Give the Linear at `path` another input or output width, with untrained weights."""
    old = block.get_submodule(path)
    assert isinstance(old, nn.Linear)
    new = nn.Linear(
        old.in_features if inputs is None else inputs,
        old.out_features if outputs is None else outputs,
        old.bias is not None,
        device=old.weight.device,
        dtype=old.weight.dtype,
    )
    block.set_submodule(path, new)


def _number(fields: Mapping[str, object], name: str) -> int | None:
    value = fields.get(name)
    return None if value is None else int(str(value))


def _gives_nothing(layer: nn.Module, path: str) -> bool:
    """Return whether the output of an emptied block has no bias left."""
    return getattr(submodule_or_none(layer, path), "bias", None) is None


def _shrink_parameter(block: nn.Module, path: str, roles: AttentionRoles, heads: int, head_size: int) -> None:
    """Resize a parameter that holds entries for each head, for each dimension of a head, or for both."""
    owner_path, _, leaf = path.rpartition(".")
    owner = submodule_or_none(block, owner_path) if owner_path else block
    old = getattr(owner, leaf, None)
    if owner is None or old is None:
        return
    shape = list(old.shape)
    for dim in range(len(shape)):
        counts = [heads] * ((path, dim) in roles.per_head) + [head_size] * (
            (path, dim) in roles.per_dimension
        )
        shape[dim] = prod(counts) if counts else shape[dim]
    owner.register_parameter(leaf, nn.Parameter(old.new_ones(shape)))
    if isinstance(owner, nn.Linear):
        owner.out_features = shape[0]
    elif isinstance(owner, nn.Embedding):
        owner.embedding_dim = shape[1]


def _shrink_convolution(block: nn.Module, roles: ConvolutionRoles, channels: int) -> None:
    first, second, depthwise = (
        block.get_submodule(path) for path in (roles.first, roles.second, roles.depthwise)
    )
    norm = block.get_submodule(roles.norm)
    assert isinstance(first, nn.Conv1d)
    assert isinstance(second, nn.Conv1d)
    assert isinstance(depthwise, nn.Conv1d)
    assert isinstance(norm, nn.BatchNorm1d | nn.LayerNorm)
    where = first.weight
    _convolve(block, roles.first, first, (first.in_channels, 2 * channels))
    _convolve(block, roles.second, second, (channels, first.in_channels))
    _convolve(block, roles.depthwise, depthwise, (channels, channels))
    made = type(norm)(channels, eps=norm.eps, device=where.device, dtype=where.dtype)
    block.set_submodule(roles.norm, made)


def _convolve(block: nn.Module, path: str, old: nn.Conv1d, channels: tuple[int, int]) -> None:
    """Put a convolution of other channels (in, out) in the place of one, with untrained weights."""
    made = nn.Conv1d(
        *channels,
        old.kernel_size[0],
        padding=old.padding if isinstance(old.padding, str) else old.padding[0],
        groups=1 if old.groups == 1 else channels[1],
        bias=old.bias is not None,
        device=old.weight.device,
        dtype=old.weight.dtype,
    )
    block.set_submodule(path, made)
