"""Model classes for heterogeneous layers: stock transformers classes whose layers have their own widths."""

import sys
from collections.abc import Iterable
from typing import Any

import torch
import transformers
from huggingface_hub.dataclasses import strict
from torch import nn
from transformers import AutoConfig, HubertConfig, PreTrainedConfig, PreTrainedModel, Wav2Vec2Config
from transformers.utils.output_capturing import _CAN_RECORD_REGISTRY

from prune_ssl.errors import ModelError
from prune_ssl.models.families import FAMILIES, PRUNED_PREFIX, Family, backbone_of
from prune_ssl.models.sharing import leave_out_projection_, share_maps_

HEADS = (
    ("Model", "AutoModel"),
    ("ForCTC", "AutoModelForCTC"),
    ("ForSequenceClassification", "AutoModelForAudioClassification"),
    ("ForAudioFrameClassification", "AutoModelForAudioFrameClassification"),
    ("ForXVector", "AutoModelForAudioXVector"),
    ("ForPreTraining", "AutoModelForPreTraining"),
)


class BiasOnly(nn.Module):
    """What remains of a Linear whose input is gone: its bias. Keeps the state-dict key `...bias`."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(size))


class BiasAttention(nn.Module):
    """An attention block with no head left: every frame gets the output projection's bias."""

    def __init__(self, size: int, output: str = "out_proj") -> None:
        super().__init__()
        self.num_heads = 0
        self.output = output
        self.add_module(output, BiasOnly(size))

    def forward(self, hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, None]:
        """Map (B, T, D) to (bias broadcast to (B, T, D), no attention map)."""
        bias: torch.Tensor = self.get_submodule(self.output).bias  # type: ignore[assignment]
        return bias.expand_as(hidden_states).clone(), None


class BiasFeedForward(nn.Module):
    """A feed-forward block with no neuron left: every frame gets the output layer's bias."""

    def __init__(self, size: int, output: str = "output_dense") -> None:
        super().__init__()
        self.output = output
        self.add_module(output, BiasOnly(size))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map (B, T, D) to the bias broadcast to (B, T, D)."""
        bias: torch.Tensor = self.get_submodule(self.output).bias  # type: ignore[assignment]
        return bias.expand_as(hidden_states).clone()


@strict
class PrunedWav2Vec2Config(Wav2Vec2Config):
    """A Wav2Vec2Config with `pruned_layers`: layer index -> its own head count and FFN width.

    The inner names are those of transformers' `per_layer_config`, whose field itself cannot be used: stock
    classes refuse to be built from it. Heads keep their own size, hidden_size / num_attention_heads.
    """

    model_type = PRUNED_PREFIX + "wav2vec2"
    pruned_layers: dict[str, Any] | None = None
    bare_projection: bool = False
    reused_maps: list[int] | None = None
    prune_format_version: int = 1


@strict
class PrunedHubertConfig(HubertConfig):
    """A HubertConfig with `pruned_layers`: layer index -> its own head count and FFN width."""

    model_type = PRUNED_PREFIX + "hubert"
    pruned_layers: dict[str, Any] | None = None
    bare_projection: bool = False
    reused_maps: list[int] | None = None
    prune_format_version: int = 1


CONFIGS: dict[str, type[PreTrainedConfig]] = {
    "wav2vec2": PrunedWav2Vec2Config,
    "hubert": PrunedHubertConfig,
}


def _new_linear(old: nn.Linear, in_features: int, out_features: int) -> nn.Linear:
    return nn.Linear(
        in_features,
        out_features,
        bias=old.bias is not None,
        device=old.weight.device,
        dtype=old.weight.dtype,
    )


def shrink_layer(backbone: nn.Module, family: Family, layer: int, heads: int, ffn: int) -> None:
    """Give one encoder layer `heads` attention heads and `ffn` FFN neurons, with untrained weights.

    Used to build the skeleton that a checkpoint is loaded into. An empty block becomes its bias.
    """
    path = family.attention.format(i=layer)
    attention = backbone.get_submodule(path)
    output: nn.Linear = attention.get_submodule(family.output)  # type: ignore[assignment]
    hidden, head_dim = output.out_features, int(attention.head_dim)  # type: ignore[arg-type]
    if heads == 0:
        backbone.set_submodule(path, BiasAttention(hidden, family.output))
    else:
        for name in (family.queries, family.keys, family.values):
            old: nn.Linear = attention.get_submodule(name)  # type: ignore[assignment]
            attention.set_submodule(name, _new_linear(old, hidden, heads * head_dim))
        attention.set_submodule(family.output, _new_linear(output, heads * head_dim, hidden))
        attention.num_heads = heads  # type: ignore[assignment]
    path = family.ffn.format(i=layer)
    block = backbone.get_submodule(path)
    if ffn == 0:
        backbone.set_submodule(path, BiasFeedForward(hidden, family.ffn_out))
        return
    first: nn.Linear = block.get_submodule(family.ffn_in)  # type: ignore[assignment]
    second: nn.Linear = block.get_submodule(family.ffn_out)  # type: ignore[assignment]
    block.set_submodule(family.ffn_in, _new_linear(first, hidden, ffn))
    block.set_submodule(family.ffn_out, _new_linear(second, ffn, hidden))


class PrunedLayers:
    """Mixin over a stock model class: after the stock constructor, cut the layers to the config's widths."""

    config_class: type[PreTrainedConfig] | None

    def __init__(self, config: PreTrainedConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)  # type: ignore[call-arg]
        family = FAMILIES[config.model_type.removeprefix(PRUNED_PREFIX)]
        _, backbone = backbone_of(self)  # type: ignore[arg-type]
        if config.bare_projection:
            leave_out_projection_(backbone)
        for index, widths in (config.pruned_layers or {}).items():
            shrink_layer(
                backbone,
                family,
                int(index),
                int(widths["num_attention_heads"]),
                int(widths["intermediate_size"]),
            )
        if config.reused_maps:
            layers: Any = backbone.get_submodule(family.attention.partition(".{i}")[0])
            share_maps_([layer.attention for layer in layers], config.reused_maps)

    @classmethod
    def _can_set_attn_implementation(cls) -> bool:
        # transformers decides this by reading the source file of the class, which for ours is this one.
        return True


def _stock_class(family: str, suffix: str) -> type[PreTrainedModel] | None:
    stem = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert"}[family]
    found: type[PreTrainedModel] | None = getattr(transformers, stem + suffix, None)
    return found


def _define_classes() -> dict[type[PreTrainedModel], type[PreTrainedModel]]:
    """Make one pruned class per stock class that exists, and register it with the Auto classes."""
    pruned: dict[type[PreTrainedModel], type[PreTrainedModel]] = {}
    for family, config_class in CONFIGS.items():
        AutoConfig.register(config_class.model_type, config_class)
        for suffix, auto in HEADS:
            stock = _stock_class(family, suffix)
            if stock is None:
                continue
            name = "Pruned" + stock.__name__
            made = type(
                name,
                (PrunedLayers, stock),
                {
                    "config_class": config_class,
                    "__module__": __name__,
                    "__doc__": f"{stock.__name__}, pruned.",
                },
            )
            setattr(sys.modules[__name__], name, made)
            getattr(transformers, auto).register(config_class, made)
            pruned[stock] = made
    return pruned


PRUNED_CLASSES = _define_classes()


def is_pruned(model: nn.Module) -> bool:
    """Return whether `model` was made smaller by prune_ssl (its config carries the mark)."""
    config = getattr(model, "config", None)
    return getattr(config, "prune_format_version", None) is not None


def to_pruned_class(model: PreTrainedModel, conv_dim: list[int], layers: dict[int, tuple[int, int]]) -> None:
    """Turn a freshly cut stock model into its pruned class, in place, with the config that rebuilds it.

    Args:
        model: a model whose modules already have their new widths; its config is replaced, not edited.
        conv_dim: output channels of every frontend layer.
        layers: layer index -> (heads, FFN width), for every layer.

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
    for key in ("model_type", "transformers_version", "architectures", "auto_map", "pruned_layers"):
        old.pop(key, None)
    old["conv_dim"] = conv_dim
    fields: dict[str, Any] = old | {
        "pruned_layers": {
            str(index): {"num_attention_heads": heads, "intermediate_size": ffn}
            for index, (heads, ffn) in layers.items()
        }
    }
    assert target.config_class is not None
    config = target.config_class(**fields)
    config._attn_implementation = model.config._attn_implementation
    model.__class__ = target
    # transformers learns which outputs (hidden states) a class can record when one is constructed; this one
    # was not.
    _CAN_RECORD_REGISTRY[model] = model._can_record_outputs
    stale = model.config
    parts: Iterable[Any] = model.modules()
    for module in parts:  # every submodule of transformers keeps a reference of its own
        if getattr(module, "config", None) is stale:
            module.config = config
    config.architectures = [target.__name__]
