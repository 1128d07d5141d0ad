"""Model classes for heterogeneous layers: stock transformers classes whose layers have their own widths."""

import sys
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import transformers
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils.output_capturing import _CAN_RECORD_REGISTRY, OutputRecorder

from prune_ssl.errors import ModelError
from prune_ssl.models.attention import OpenAttention
from prune_ssl.models.empty import NoMap
from prune_ssl.models.family import Family
from prune_ssl.models.layers import scale_last_convolution_, submodule_or_none, widen_convolutions_
from prune_ssl.models.registry import FAMILIES, PRUNED_PREFIX, backbone_of, head_reader_of
from prune_ssl.models.sharing import leave_out_projection_, share_maps_
from prune_ssl.models.sizes import LayerSizes, widen
from prune_ssl.models.xvector import model_class

OWN_IMPLEMENTATIONS = ("eager", "sdpa")  # of attention, where it is not the stock one that computes it
# Fields that a pruned config has beside the stock ones, with their defaults.
# pruned_layers: layer index -> its own sizes, named as in transformers' per_layer_config (whose field itself
# cannot be used: stock classes refuse to be built from it), and the parts of it that are gone.
# head_size: original size of a head, where it is not hidden_size / num_attention_heads any more.
# bare_projection: the feature projection has no Linear. reused_maps: layers with the map of the layer below.
# residual_dims, residual_scales: what is left of the original residual stream, where slices of it are read.
# position_size: width of the table of relative positions. upsampled_size: width behind the upsampling.
# scaled_frontend: factors of the channels stand behind the last convolution of the frontend.
# project_features: there is a projection though its widths are equal (the stock constructor leaves it out).
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
    stock: type[PreTrainedConfig] = family.stock("config")
    fields = dict(FIELDS)
    if family.conv and not family.states_conv_widths:  # the stock frontend is as wide as the residual
        fields["conv_dim"] = (list[int] | None, None)
    body: dict[str, Any] = {name: default for name, (_, default) in fields.items()}
    body |= {
        "model_type": PRUNED_PREFIX + family.name,
        "__annotations__": {name: kind for name, (kind, _) in fields.items()},
        "__module__": __name__,
        "__doc__": f"A {stock.__name__} whose layers have their own sizes.",
    }
    made: type[PreTrainedConfig] = strict(type(f"Pruned{stock.__name__}", (stock,), body))
    return made


CONFIGS: dict[str, type[PreTrainedConfig]] = {}
"""Family -> the class of its pruned configs."""
PRUNED_CLASSES: dict[type[PreTrainedModel], type[PreTrainedModel]] = {}
"""Stock class -> its pruned class."""


def _widen_positions(table: Any, width: int) -> None:
    """Give a table of relative positions the width that it had before the residual was cut."""
    table.d_model = width
    table.pe = table.extend_pe(table.pe.new_zeros(1, table.max_len))


def _shape_around_layers(model: nn.Module, backbone: Any, family: Family, config: Any) -> None:
    """Give what lies around the layers the shape that the config's own fields say."""
    if family.conv and not family.states_conv_widths and config.conv_dim is not None:
        widen_convolutions_(backbone, family.convs(backbone), config.conv_dim)
    if config.project_features and not getattr(backbone, family.projection_flag):
        backbone.set_submodule(family.projection, nn.Linear(config.conv_dim[-1], config.hidden_size))
        setattr(backbone, family.projection_flag, True)
    if config.position_size is not None:
        _widen_positions(backbone.get_submodule(family.position_table), config.position_size)
    if config.upsampled_size is not None:
        factor = getattr(config, family.squeeze)
        widen(backbone, family.upsampling, outputs=factor * config.upsampled_size)
        reader = head_reader_of(model, family)
        if reader is not None:
            widen(model, reader, inputs=config.upsampled_size)
    if config.scaled_frontend:
        scale_last_convolution_(backbone, family)
    if config.bare_projection:
        leave_out_projection_(backbone, family)
    if config.head_size is not None:
        # A table of position biases that all layers share, in the first, has a column for each original head.
        first = family.layers(backbone)[0].get_submodule(family.attention.path)
        for name in family.attention.shared:
            old = first.get_parameter(f"{name}.weight")
            shape = len(old), config.num_attention_heads
            first.set_submodule(name, nn.Embedding(*shape, device=old.device, dtype=old.dtype))


class PrunedLayers:
    """Mixin over a stock model class: after the stock constructor, cut the layers to the config's sizes."""

    config_class: type[PreTrainedConfig] | None
    _can_record_outputs: dict[str, Any] | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        assert cls.config_class is not None
        family = FAMILIES[cls.config_class.model_type.removeprefix(PRUNED_PREFIX)]
        cls._can_record_outputs = _recorded(super(), family)

    def __init__(self, config: PreTrainedConfig, *args: Any, **kwargs: Any) -> None:
        stated, asked = config.num_attention_heads, config._attn_implementation
        if config.head_size is not None:
            # Stock constructors want a hidden size that the number of heads divides; every layer is given its
            # own heads below.
            config.num_attention_heads = 1
        family = FAMILIES[config.model_type.removeprefix(PRUNED_PREFIX)]
        if family.attention.opened is not None:
            config._attn_implementation = "eager"  # the stock classes inside know no other
        try:
            super().__init__(config, *args, **kwargs)  # type: ignore[call-arg]
        finally:
            config.num_attention_heads = stated
            if family.attention.opened is not None:
                config._attn_implementation = asked
        _, backbone = backbone_of(self)  # type: ignore[arg-type]
        _turn_backbone(backbone)
        if family.attention.opened is not None:
            found = self._check_and_adjust_attn_implementation(asked, is_init_check=True)
            config._attn_implementation = found
        _shape_around_layers(self, backbone, family, config)  # type: ignore[arg-type]
        for index, sizes in (config.pruned_layers or {}).items():
            LayerSizes.from_config(sizes, family).give(backbone, family, int(index), config)
        if config.reused_maps:
            path = family.attention.path
            attentions = [submodule_or_none(layer, path) for layer in family.layers(backbone)]
            share_maps_(attentions, config.reused_maps)

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        # transformers decides this by reading the source file of the class, which for ours is this one.
        return True

    def _check_and_adjust_attn_implementation(self, asked: str | None, *args: Any, **kwargs: Any) -> str:
        """Refuse what our own attentions cannot run; transformers calls this whenever one is asked for."""
        config: Any = self.config  # type: ignore[attr-defined]
        own = FAMILIES[config.model_type.removeprefix(PRUNED_PREFIX)].attention.opened is not None
        found: str = super()._check_and_adjust_attn_implementation(asked, *args, **kwargs)  # type: ignore[misc]
        if (own or config.reused_maps) and found not in OWN_IMPLEMENTATIONS:
            what = "attention maps that layers reuse" if config.reused_maps else "its position biases"
            raise ValueError(
                f"{type(self).__name__} does not support attn_implementation={asked!r}: {what} need one of "
                f"{', '.join(OWN_IMPLEMENTATIONS)}."
            )
        return found


def _recorded(stock: Any, family: Family) -> dict[str, Any]:
    """Return what transformers records of a class: our attentions' maps too, and None for those gone.

    A class with a head may leave all recording to the backbone in it.
    """
    recorded: dict[str, Any] = dict(stock._can_record_outputs or {})
    if "attentions" not in recorded:
        return recorded
    ours = OutputRecorder(OpenAttention, index=1, layer_name=family.layers_path)
    gone = OutputRecorder(NoMap, layer_name=family.layers_path)
    return recorded | {"attentions": [recorded["attentions"], ours, gone]}


@cache
def pruned_class_of(stock: Any, config_class: Any) -> type[PreTrainedModel]:
    """Return the pruned class of a stock class; it has a place in this module, as pickle wants it."""
    body: dict[str, Any] = {
        "config_class": config_class,
        "__module__": __name__,
        "__doc__": f"{stock.__name__}, pruned.",
    }
    if FAMILIES[config_class.model_type.removeprefix(PRUNED_PREFIX)].attention.opened is not None:
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


def define_classes(family: Family) -> None:
    """Make one pruned class per stock class of a family that exists, and register it with its Auto class."""
    assert family.classes is not None
    config_class = CONFIGS[family.name] = _config_class(family)
    AutoConfig.register(config_class.model_type, config_class)
    setattr(sys.modules[__name__], config_class.__name__, config_class)
    for name, auto in family.classes.models:
        stock = model_class(name)
        if stock is not None:
            both: tuple[Any, Any] = stock, config_class
            made = pruned_class_of(*both)
            getattr(transformers, auto).register(config_class, made)
            PRUNED_CLASSES[stock] = made


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
