"""Pruned classes: stock classes of transformers whose layers have their own widths."""

import copy
import sys
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import transformers
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils.output_capturing import OutputRecorder

from prune_ssl.errors import ModelError
from prune_ssl.models.alignment import align_
from prune_ssl.models.attention import OpenAttention
from prune_ssl.models.empty import NoMap
from prune_ssl.models.family import Family
from prune_ssl.models.layers import scale_last_convolution_, submodule_or_none, widen_convolutions_
from prune_ssl.models.registry import FAMILIES, PRUNED_PREFIX, backbone_of, head_reader_of
from prune_ssl.models.sharing import leave_out_projection_, share_maps_
from prune_ssl.models.sizes import LayerSizes, widen
from prune_ssl.models.transformers_internals import (
    SUPPORTS_SDPA,
    OpenModel,
    attention_of,
    can_fuse,
    record_anew,
    state_attention,
)
from prune_ssl.models.xvector import model_class

OWN_IMPLEMENTATIONS = ("eager", "sdpa")
"""The attention implementations that prune_ssl's own attentions know."""
# The fields that a pruned config has in addition to the stock ones, with type and default.
# pruned_layers: layer index -> the sizes of the layer, named as in transformers' per_layer_config, and its
# parts that are gone. (transformers' own field cannot be used: stock classes refuse to be built from it.)
# head_size: the original size of a head, if hidden_size / num_attention_heads gives another number.
# bare_projection: the feature projection has no Linear.
# reused_maps: the layers that take the attention map of the layer below.
# residual_dims, residual_scales: the dimensions that are left of the original residual stream, and their
# scales, for attentions that read slices of it.
# position_size: the width of the table of relative positions.
# upsampled_size: the width behind the upsampling.
# scaled_frontend: a factor for each channel stands behind the last convolution of the frontend.
# project_features: there is a projection between equal widths; the stock constructor leaves it out.
FIELDS: dict[str, tuple[object, object]] = {
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
    if family.conv and not family.states_conv_widths:  # the stock frontend is as wide as the residual stream
        fields["conv_dim"] = (list[int] | None, None)
    body: dict[str, object] = {name: default for name, (_, default) in fields.items()}
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


def _widen_positions(backbone: PreTrainedModel, path: str, width: int) -> None:
    """Make the table of relative positions anew, as wide as it was before the residual stream was cut."""
    wide = copy.copy(backbone.config)
    wide.hidden_size = width
    backbone.set_submodule(path, type(backbone.get_submodule(path))(wide))


def _shape_around_layers(model: nn.Module, backbone: PreTrainedModel, family: Family) -> None:
    """Give the modules outside the layers the shapes that the fields of the config state."""
    config = backbone.config
    if family.conv and not family.states_conv_widths and config.conv_dim is not None:
        widen_convolutions_(backbone, family.convs(backbone), config.conv_dim)
    if config.project_features and not getattr(backbone, family.projection_flag):
        backbone.set_submodule(family.projection, nn.Linear(config.conv_dim[-1], config.hidden_size))
        setattr(backbone, family.projection_flag, True)
    if config.position_size is not None:
        _widen_positions(backbone, family.position_table, config.position_size)
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
        # The first layer may hold a table of position biases for all layers. It has a column for each of the
        # original heads.
        first = family.layers(backbone)[0].get_submodule(family.attention.path)
        for name in family.attention.shared:
            old = first.get_parameter(f"{name}.weight")
            shape = len(old), config.num_attention_heads
            first.set_submodule(name, nn.Embedding(*shape, device=old.device, dtype=old.dtype))


def _family_of_config(config: PreTrainedConfig) -> Family:
    return FAMILIES[config.model_type.removeprefix(PRUNED_PREFIX)]


def _backbone_in(model: PreTrainedModel) -> PreTrainedModel:
    _, backbone = backbone_of(model)
    if not isinstance(backbone, PreTrainedModel):
        raise ModelError(f"the backbone of {type(model).__name__} is no model of transformers.")
    return backbone


class PrunedLayers(OpenModel):
    """Stands before a stock class: after the stock constructor, it cuts the layers to the config's sizes."""

    def __init__(self, config: PreTrainedConfig, *args: Any, **kwargs: Any) -> None:
        stated, asked = config.num_attention_heads, attention_of(config)
        if config.head_size is not None:
            # Stock constructors want a number of heads that divides the hidden size. Each layer is given its
            # own heads below.
            config.num_attention_heads = 1
        family = _family_of_config(config)
        if family.attention.opened is not None:
            state_attention(config, "eager")  # the stock class knows no other implementation
        try:
            super().__init__(config, *args, **kwargs)
        finally:
            config.num_attention_heads = stated
            if family.attention.opened is not None:
                state_attention(config, asked)
        backbone = _backbone_in(self)
        _turn_backbone(backbone)
        if family.attention.opened is not None:
            state_attention(config, self.chosen_attention(asked))
        _shape_around_layers(self, backbone, family)
        for index, sizes in (config.pruned_layers or {}).items():
            LayerSizes.from_config(sizes, family).give(backbone, family, int(index), config)
        if config.reused_maps:
            path = family.attention.path
            attentions = [submodule_or_none(layer, path) for layer in family.layers(backbone)]
            share_maps_(attentions, config.reused_maps)

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load as transformers does, and align the weights, so that outputs are those of the saved model."""
        found = super().from_pretrained(*args, **kwargs)
        align_(found[0] if isinstance(found, tuple) else found)  # a tuple: with output_loading_info
        return found

    @classmethod
    def recorded(cls, stock: Mapping[str, object]) -> dict[str, object]:
        """Return the recorded outputs: also the maps of prune_ssl's attentions, and None for those gone."""
        if "attentions" not in stock or cls.config_class is None:
            return dict(stock)
        layers = FAMILIES[cls.config_class.model_type.removeprefix(PRUNED_PREFIX)].layers_path
        ours = OutputRecorder(OpenAttention, index=1, layer_name=layers)
        gone = OutputRecorder(NoMap, layer_name=layers)
        return dict(stock) | {"attentions": [stock["attentions"], ours, gone]}

    def check_attention(self, asked: str | None, found: str) -> None:
        """Raise a ValueError if an attention of prune_ssl in the model cannot run the implementation."""
        own = _family_of_config(self.config).attention.opened is not None
        if (own or self.config.reused_maps) and found not in OWN_IMPLEMENTATIONS:
            why = "attention maps that layers reuse" if self.config.reused_maps else "its position biases"
            raise ValueError(
                f"{type(self).__name__} does not support attn_implementation={asked!r}: {why} need one of "
                f"{', '.join(OWN_IMPLEMENTATIONS)}."
            )


_MADE: dict[tuple[type[PreTrainedModel], type[PreTrainedConfig]], type[PreTrainedModel]] = {}


def pruned_class_of(
    stock: type[PreTrainedModel], config_class: type[PreTrainedConfig]
) -> type[PreTrainedModel]:
    """Return the pruned class of a stock class; it becomes an attribute of this module, as pickle wants."""
    if (stock, config_class) in _MADE:
        return _MADE[stock, config_class]
    body: dict[str, object] = {
        "config_class": config_class,
        "__module__": __name__,
        "__doc__": f"{stock.__name__}, pruned.",
    }
    if FAMILIES[config_class.model_type.removeprefix(PRUNED_PREFIX)].attention.opened is not None:
        body[SUPPORTS_SDPA] = True  # prune_ssl's attention can use the fused kernel, the stock one cannot
    made: type[PreTrainedModel] = type("Pruned" + stock.__name__, (PrunedLayers, stock), body)
    setattr(sys.modules[__name__], made.__name__, made)
    _MADE[stock, config_class] = made
    return made


def _turn_backbone(backbone: PreTrainedModel) -> None:
    """Give the backbone its pruned class; in a model with a head it has its stock class at first.

    transformers looks up by class which outputs it records.
    """
    if not isinstance(backbone, PrunedLayers):
        backbone.__class__ = pruned_class_of(type(backbone), type(backbone.config))
    record_anew(backbone)


def define_classes(family: Family) -> None:
    """Make the pruned classes of a family, and register each with the Auto class of its stock class."""
    assert family.classes is not None
    config_class = CONFIGS[family.name] = _config_class(family)
    AutoConfig.register(config_class.model_type, config_class)
    setattr(sys.modules[__name__], config_class.__name__, config_class)
    for name, auto in family.classes.models:
        stock = model_class(name)
        if stock is not None:
            made = pruned_class_of(stock, config_class)
            getattr(transformers, auto).register(config_class, made)
            PRUNED_CLASSES[stock] = made


def is_pruned(model: nn.Module) -> bool:
    """Return whether prune_ssl made `model` smaller; its config carries the mark."""
    config = getattr(model, "config", None)
    return getattr(config, "prune_format_version", None) is not None


@runtime_checkable
class _Configured(Protocol):
    """A module that holds a config."""

    config: PreTrainedConfig


def to_pruned_class(model: PreTrainedModel, fields: Mapping[str, object]) -> None:
    """Turn a freshly cut stock model into its pruned class, in place, with the config that rebuilds it.

    Args:
        model: a model whose modules already have their new widths. Its config is replaced, not edited.
        fields: the config fields that changed, stock ones and those of `FIELDS`.

    Raises:
        ModelError: the class of the model is neither a stock class of transformers nor a pruned one.
    """
    cls = type(model)
    target = cls if issubclass(cls, PrunedLayers) else PRUNED_CLASSES.get(cls)
    if target is None or target.config_class is None:
        raise ModelError(
            f"{cls.__name__} is not a class of transformers that prune_ssl can rebuild from a config. "
            "Load the checkpoint with the stock class (for example HubertForCTC) and put your head beside it."
        )
    old = model.config.to_dict()
    for key in ("model_type", "transformers_version", "architectures", "auto_map"):
        old.pop(key, None)
    config = target.config_class(**(old | dict(fields)))
    newly_fused = can_fuse(target) and not can_fuse(cls)
    state_attention(config, "sdpa" if newly_fused else attention_of(model.config))
    model.__class__ = target
    stale = model.config
    for module in model.modules():  # many modules of transformers hold a reference to the config
        if isinstance(module, _Configured) and module.config is stale:
            module.config = config
    config.architectures = [target.__name__]
    _turn_backbone(_backbone_in(model))
