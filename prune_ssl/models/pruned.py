"""Model classes for heterogeneous layers: stock transformers classes whose layers have their own widths."""

import sys
from collections.abc import Iterable, Mapping
from functools import cache
from math import prod
from typing import Any

import transformers
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils.output_capturing import _CAN_RECORD_REGISTRY, OutputRecorder

from prune_ssl.errors import ModelError
from prune_ssl.families import FAMILIES, PRUNED_PREFIX, Family, backbone_of, head_reader_of
from prune_ssl.families.empty import NoMap
from prune_ssl.families.position_bias import PrunedWavLMAttention
from prune_ssl.families.xvector import model_class_of
from prune_ssl.models.layers import (
    empty_attention,
    empty_convolution,
    empty_feed_forward,
    own_position_bias,
    remove_layer,
    scale_last_convolution_,
    state_heads,
    submodule_or_none,
)
from prune_ssl.models.sharing import leave_out_projection_, share_maps_

OWN_IMPLEMENTATIONS = ("eager", "sdpa")  # of attention, where it is not the stock one that computes it
# Fields that a pruned config has beside the stock ones, with their defaults.
# pruned_layers: layer index -> its own sizes, named as in transformers' per_layer_config (whose field itself
# cannot be used: stock classes refuse to be built from it), and the parts of it that are gone.
# head_size: original size of a head, where it is not hidden_size / num_attention_heads any more.
# bare_projection: the feature projection has no Linear. reused_maps: layers with the map of the layer below.
# residual_dims, residual_scales: what is left of the original residual stream, where slices of it are read.
# position_size: width of the table of relative positions. upsampled_size: width behind the upsampling.
# scaled_frontend: factors of the channels stand behind the last convolution of the frontend.
# project_features: SEW has a projection though its widths are equal (the stock constructor leaves it out).
FIELDS: dict[str, tuple[Any, Any]] = {
    "pruned_layers": (dict[str, Any] | None, None),
    "head_size": (int | None, None),
    "residual_dims": (list[int] | None, None),
    "residual_scales": (list[float] | None, None),
    "position_size": (int | None, None),
    "upsampled_size": (int | None, None),
    "project_features": (bool, False),
    "bare_projection": (bool, False),
    "scaled_frontend": (bool, False),
    "reused_maps": (list[int] | None, None),
    "prune_format_version": (int, 1),
}


def _config_class(family: Family) -> type[PreTrainedConfig]:
    stock: type[PreTrainedConfig] = family.config_class()
    body: dict[str, Any] = {name: default for name, (_, default) in FIELDS.items()}
    body |= {
        "model_type": PRUNED_PREFIX + family.name,
        "__annotations__": {name: kind for name, (kind, _) in FIELDS.items()},
        "__module__": __name__,
        "__doc__": f"A {stock.__name__} whose layers have their own sizes.",
    }
    made: type[PreTrainedConfig] = strict(type(f"Pruned{stock.__name__}", (stock,), body))
    return made


def _new_linear(old: nn.Module, in_features: int, out_features: int) -> nn.Linear:
    weight: Any = old.weight
    return nn.Linear(
        in_features, out_features, old.bias is not None, device=weight.device, dtype=weight.dtype
    )


def _widen(block: nn.Module, path: str, *, inputs: int | None = None, outputs: int | None = None) -> None:
    """Give the Linear at `path` another input or output width, with untrained weights."""
    old: Any = block.get_submodule(path)
    block.set_submodule(
        path,
        _new_linear(
            old,
            old.in_features if inputs is None else inputs,
            old.out_features if outputs is None else outputs,
        ),
    )


def shrink_layer(
    backbone: nn.Module, family: Family, index: int, sizes: Mapping[str, Any], config: Any
) -> None:
    """Give one encoder layer the sizes of its entry in `pruned_layers`, with untrained weights.

    Used to build the skeleton that a checkpoint is loaded into. Empty blocks become their bias, removed ones
    give zeros, a removed layer passes its input on.
    """
    gone = sizes.get("removed", ())
    if "layer" in gone:
        remove_layer(backbone, family, index)
        return
    layer = backbone.get_submodule(family.layer.format(i=index))
    if "num_attention_heads" in sizes:
        _shrink_attention(layer, family, sizes, config)
    for ffn in family.ffns:
        width = sizes.get(ffn.field)
        if not width and width is not None:
            empty_feed_forward(layer, ffn, keep_bias=ffn.block not in gone)
        elif width is not None:
            _widen(layer, ffn.first, outputs=width)
            _widen(layer, ffn.second, inputs=width)
    roles = family.convolution
    if roles is not None and (channels := sizes.get("conv_channels")) is not None:
        if channels == 0:
            empty_convolution(layer, roles)
        else:
            _shrink_convolution(layer.get_submodule(roles.path), roles, channels)


def _shrink_attention(layer: nn.Module, family: Family, sizes: Mapping[str, Any], config: Any) -> None:
    roles, heads = family.attention, int(sizes["num_attention_heads"])
    original = config.head_size or config.hidden_size // config.num_attention_heads
    size = sizes.get("head_dim", original)
    block = layer.get_submodule(roles.path)
    if heads == 0:
        empty_attention(layer, roles, config, keep_bias="attention" not in sizes.get("removed", ()))
        return
    for path in roles.projections:
        _widen(block, path, outputs=heads * size)
    _widen(block, roles.output, inputs=heads * size)
    for path in dict.fromkeys(path for path, _ in roles.per_head + roles.per_dimension):
        _shrink_parameter(block, path, roles, heads, size)
    if config.position_size is not None:
        _widen(block, "linear_pos", inputs=config.position_size)
    if roles.by_slices:
        _widen(block, roles.by_slices, inputs=original)
    state_heads(block, roles, heads, size)
    if hasattr(block, "scaling"):
        block.scaling = original**-0.5
    if roles.style == "position bias":
        residual = None if config.residual_dims is None else (config.residual_dims, config.residual_scales)
        kept, every = list(sizes["heads"]), config.num_attention_heads
        own_position_bias(layer, roles, config, kept, every, size, residual)


def _shrink_parameter(block: nn.Module, path: str, roles: Any, heads: int, head_size: int) -> None:
    """Resize a parameter that holds entries for each head, for each dimension of a head, or for both."""
    owner_path, _, leaf = path.rpartition(".")
    owner: Any = submodule_or_none(block, owner_path) if owner_path else block
    old = None if owner is None else owner._parameters.get(leaf)
    if old is None:
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


def _shrink_convolution(block: nn.Module, roles: Any, channels: int) -> None:
    first, second, depthwise, norm = (
        block.get_submodule(path) for path in (roles.first, roles.second, roles.depthwise, roles.norm)
    )
    kind: Any = nn.Conv1d
    place: dict[str, Any] = {"device": first.weight.device, "dtype": first.weight.dtype}
    hidden: Any = first.in_channels
    block.set_submodule(roles.first, kind(hidden, 2 * channels, 1, bias=first.bias is not None, **place))
    block.set_submodule(roles.second, kind(channels, hidden, 1, bias=second.bias is not None, **place))
    options = {"padding": depthwise.padding, "groups": channels, "bias": depthwise.bias is not None}
    block.set_submodule(roles.depthwise, kind(channels, channels, depthwise.kernel_size, **options, **place))
    block.set_submodule(roles.norm, type(norm)(channels, eps=norm.eps, **place))


def _widen_positions(encoder: Any, width: int) -> None:
    """Give a conformer the table of relative positions that it had before its residual was cut."""
    table = encoder.embed_positions
    table.d_model = width
    table.pe = table.extend_pe(table.pe.new_zeros(1, table.max_len))


def _shape_around_layers(model: nn.Module, backbone: Any, family: Family, config: Any) -> None:
    """Give what lies around the layers the shape that the config's own fields say."""
    if config.project_features and not backbone.project_features:
        backbone.feature_projection = nn.Linear(config.conv_dim[-1], config.hidden_size)
        backbone.project_features = True
    if config.position_size is not None:
        _widen_positions(backbone.encoder, config.position_size)
    if config.upsampled_size is not None:
        factor = getattr(config, family.squeeze)
        _widen(backbone, family.upsampling, outputs=factor * config.upsampled_size)
        reader = head_reader_of(model, family)
        if reader is not None:
            _widen(model, reader, inputs=config.upsampled_size)
    if config.scaled_frontend:
        scale_last_convolution_(backbone)
    if config.bare_projection:
        leave_out_projection_(backbone)
    if config.head_size is not None and family.layers_return_bias:
        # WavLM's shared table of position biases, in the first layer, has a column for each original head.
        first = backbone.encoder.layers[0].attention
        old = first.rel_attn_embed.weight
        shape = len(old), config.num_attention_heads
        first.rel_attn_embed = nn.Embedding(*shape, device=old.device, dtype=old.dtype)


class PrunedLayers:
    """Mixin over a stock model class: after the stock constructor, cut the layers to the config's sizes."""

    config_class: type[PreTrainedConfig] | None
    _can_record_outputs: dict[str, Any] | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._can_record_outputs = _recorded(super())

    def __init__(self, config: PreTrainedConfig, *args: Any, **kwargs: Any) -> None:
        stated, asked = config.num_attention_heads, config._attn_implementation
        if config.head_size is not None:
            # Stock constructors want a hidden size that the number of heads divides; every layer is given its
            # own heads below.
            config.num_attention_heads = 1
        family = FAMILIES[config.model_type.removeprefix(PRUNED_PREFIX)]
        if family.attention.style == "position bias":
            config._attn_implementation = "eager"  # the stock classes inside know no other
        try:
            super().__init__(config, *args, **kwargs)  # type: ignore[call-arg]
        finally:
            config.num_attention_heads = stated
            if family.attention.style == "position bias":
                config._attn_implementation = asked
        _, backbone = backbone_of(self)  # type: ignore[arg-type]
        _turn_backbone(backbone)
        if family.attention.style == "position bias":
            found = self._check_and_adjust_attn_implementation(asked, is_init_check=True)
            config._attn_implementation = found
        _shape_around_layers(self, backbone, family, config)  # type: ignore[arg-type]
        for index, sizes in (config.pruned_layers or {}).items():
            shrink_layer(backbone, family, int(index), sizes, config)
        if config.reused_maps:
            layers: Any = backbone.get_submodule(family.layer_list)
            share_maps_([layer._modules.get(family.attention.path) for layer in layers], config.reused_maps)

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        # transformers decides this by reading the source file of the class, which for ours is this one.
        return True

    def _check_and_adjust_attn_implementation(self, asked: str | None, *args: Any, **kwargs: Any) -> str:
        """Refuse what our own attentions cannot run; transformers calls this whenever one is asked for."""
        config: Any = self.config  # type: ignore[attr-defined]
        own = FAMILIES[config.model_type.removeprefix(PRUNED_PREFIX)].attention.style == "position bias"
        found: str = super()._check_and_adjust_attn_implementation(asked, *args, **kwargs)  # type: ignore[misc]
        if (own or config.reused_maps) and found not in OWN_IMPLEMENTATIONS:
            what = "attention maps that layers reuse" if config.reused_maps else "its position biases"
            raise ValueError(
                f"{type(self).__name__} does not support attn_implementation={asked!r}: {what} need one of "
                f"{', '.join(OWN_IMPLEMENTATIONS)}."
            )
        return found


def _recorded(stock: Any) -> dict[str, Any]:
    """Return what transformers records of a class: our attentions' maps too, and None for those gone."""
    recorded: dict[str, Any] = dict(stock._can_record_outputs)
    ours = OutputRecorder(PrunedWavLMAttention, index=1, layer_name="encoder")
    gone = OutputRecorder(NoMap, layer_name="encoder")
    return recorded | {"attentions": [recorded["attentions"], ours, gone]}


@cache
def pruned_class_of(stock: Any, config_class: Any) -> type[PreTrainedModel]:
    """Return the pruned class of a stock class; it has a place in this module, as pickle wants it."""
    body: dict[str, Any] = {
        "config_class": config_class,
        "__module__": __name__,
        "__doc__": f"{stock.__name__}, pruned.",
    }
    if FAMILIES[config_class.model_type.removeprefix(PRUNED_PREFIX)].attention.style == "position bias":
        body["_supports_sdpa"] = True  # our attention can, the stock one cannot
    made: type[PreTrainedModel] = type("Pruned" + stock.__name__, (PrunedLayers, stock), body)
    setattr(sys.modules[__name__], made.__name__, made)
    return made


def _turn_backbone(backbone: Any) -> None:
    """Give the backbone inside a model with a head its pruned class: what can be recorded goes by class."""
    if not isinstance(backbone, PrunedLayers):
        stock: Any = type(backbone)
        backbone.__class__ = pruned_class_of(stock, backbone.config.__class__)
    _record_anew(backbone)


def _record_anew(backbone: Any) -> None:
    """Let transformers learn what this class records: it does so when one is made, and hooks modules once."""
    _CAN_RECORD_REGISTRY[backbone] = backbone._can_record_outputs
    for module in backbone.modules():
        for number, hook in list(module._forward_hooks.items()):
            if "output_capturing_hook" in getattr(hook, "__qualname__", ""):
                del module._forward_hooks[number]
    backbone._output_capturing_hooks_installed = False


CONFIGS: dict[str, type[PreTrainedConfig]] = {}
"""Name of a family -> the config class of its pruned models."""
PRUNED_CLASSES: dict[type[PreTrainedModel], type[PreTrainedModel]] = {}
"""Stock class -> pruned class."""


def define_classes(family: Family) -> None:
    """Make a pruned class for every model class that a family has, and register it with its Auto class."""
    if family.library != "transformers":
        return
    config_class = CONFIGS[family.name] = _config_class(family)
    AutoConfig.register(config_class.model_type, config_class)
    setattr(sys.modules[__name__], config_class.__name__, config_class)
    for suffix, auto in family.heads:
        stock = model_class_of(family, suffix)
        if stock is None:
            continue
        both: tuple[Any, Any] = stock, config_class
        made = PRUNED_CLASSES[stock] = pruned_class_of(*both)
        getattr(transformers, auto).register(config_class, made)


for _family in FAMILIES.values():
    define_classes(_family)


def is_pruned(model: nn.Module) -> bool:
    """Return whether `model` was made smaller by prune_ssl (its config carries the mark)."""
    config = getattr(model, "config", None)
    return getattr(config, "prune_format_version", None) is not None


def to_pruned_class(model: PreTrainedModel, fields: Mapping[str, Any]) -> None:
    """Turn a freshly cut stock model into its pruned class, in place, with the config that rebuilds it.

    Args:
        model: a model whose modules already have their new widths; its config is replaced, not edited.
        fields: the config fields that changed, stock ones and those of `FIELDS`.

    Raises:
        ModelError: the model's class is neither a stock class of transformers nor a pruned one.
    """
    cls = type(model)
    target = cls if issubclass(cls, PrunedLayers) else PRUNED_CLASSES.get(cls)
    if target is None:
        raise ModelError(
            f"{cls.__name__} is not a class of transformers that prune_ssl can rebuild from a config. "
            "Load the checkpoint with the stock class (for example HubertForCTC) and put your head beside it."
        )
    old = model.config.to_dict()
    for key in ("model_type", "transformers_version", "architectures", "auto_map"):
        old.pop(key, None)
    assert target.config_class is not None
    config = target.config_class(**(old | dict(fields)))
    fused = target._supports_sdpa and not cls._supports_sdpa  # ours can what the stock attention could not
    config._attn_implementation = "sdpa" if fused else model.config._attn_implementation
    model.__class__ = target
    stale = model.config
    parts: Iterable[Any] = model.modules()
    for module in parts:  # every submodule of transformers keeps a reference of its own
        if getattr(module, "config", None) is stale:
            module.config = config
    config.architectures = [target.__name__]
    _turn_backbone(backbone_of(model)[1])
