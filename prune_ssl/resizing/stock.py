"""to_stock(): turns a pruned model into one of its stock class, if a stock config can state its sizes."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from prune_ssl.errors import ModelError
from prune_ssl.models import FAMILIES, Family, backbone_of, is_pruned
from prune_ssl.models.arguments import as_model
from prune_ssl.models.origin import hand_on_origin
from prune_ssl.models.pruned import FIELDS, PRUNED_CLASSES
from prune_ssl.models.registry import PRUNED_PREFIX
from prune_ssl.models.sizes import LayerSizes
from prune_ssl.models.transformers_internals import attention_of, can_fuse, state_attention

OURS = (*FIELDS, "model_type", "transformers_version", "architectures", "auto_map")


def to_stock(model: nn.Module | str | Path) -> PreTrainedModel:
    """Return a model of the stock class with the same function, which loads without prune_ssl.

    A stock config states a width for each convolution, one FFN width, and the number of layers. Pruning with
    `layout="stock"` changes nothing else. Removed layers are really gone, so there are fewer hidden states. A
    model that is not pruned is returned as it is.

    Raises:
        ModelError: a stock config cannot state the sizes of the model; the message names the first of them.
    """
    model = as_model(model, "to_stock")
    if not isinstance(model, PreTrainedModel):
        raise ModelError(f"{type(model).__name__} has no stock class: wanted a model of transformers.")
    if not is_pruned(model):
        return model
    config = model.config
    family = FAMILIES[config.model_type.removeprefix(PRUNED_PREFIX)]
    stated = config.pruned_layers or {str(index): {} for index in range(config.num_hidden_layers)}
    layers = {int(index): LayerSizes.from_config(stated[index], family) for index in sorted(stated, key=int)}
    alive = {index: sizes for index, sizes in layers.items() if not sizes.is_removed}
    width = _common_width(config, family, alive)
    gone = len(layers) - len(alive)
    if gone and getattr(config, "use_weighted_layer_sum", False):
        raise _refused("a weighted sum over all layers, of which some are gone")
    fields = {key: value for key, value in config.to_dict().items() if key not in OURS}
    fields |= {family.ffn_field: width, "num_hidden_layers": len(alive)}
    if not family.states_conv_widths:
        fields.pop("conv_dim", None)
    stock_class = next(stock for stock, ours in PRUNED_CLASSES.items() if type(model) is ours)
    stock_config = family.stock("config")(**fields)
    state_attention(stock_config, attention_of(config) if can_fuse(stock_class) else "eager")
    stock = stock_class(stock_config)
    prefix, _ = backbone_of(model)
    stem = ".".join(part for part in (prefix, family.layers_path) if part) + "."
    state = _renumbered(model.state_dict(), stem, list(alive))
    try:
        stock.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise _refused(f"weights that its stock class has no place for: {error}") from error
    hand_on_origin(model, stock)
    parameter = next(model.parameters())
    nn.Module.to(stock, device=parameter.device, dtype=parameter.dtype)
    stock.train(model.training)
    return stock


def _common_width(config: PreTrainedConfig, family: Family, layers: Mapping[int, LayerSizes]) -> int:
    """Return the FFN width of all layers.

    Raises:
        ModelError: the widths differ, or a stock config cannot state another size.
    """
    for name in ("head_size", "bare_projection", "reused_maps"):
        if getattr(config, name) != FIELDS[name][1]:
            raise _refused(f"{name} {getattr(config, name)}")
    own = getattr(config, "conv_dim", None) if family.conv and not family.states_conv_widths else None
    if own is not None and {*own} != {config.hidden_size}:
        raise _refused(f"convolutions of {own} channels")
    if config.project_features and config.conv_dim[-1] == config.hidden_size:
        raise _refused("a projection of the frontend between equal widths")  # no stock constructor makes one
    stated = getattr(config, family.ffn_field)
    widths = set() if layers else {stated}  # a stock model may have no layer at all
    for index, sizes in layers.items():
        if sizes.gone:
            raise _refused(f"layer {index} without {', '.join(sizes.gone)}")
        if sizes.heads not in (None, config.num_attention_heads):
            raise _refused(f"layer {index} with {sizes.heads} of {config.num_attention_heads} heads")
        if sizes.channels not in (None, config.hidden_size):
            raise _refused(
                f"layer {index} with {sizes.channels} of {config.hidden_size} convolution channels"
            )
        widths |= {sizes.neurons.get(ffn.field, stated) for ffn in family.ffns}
    if len(widths) > 1 or 0 in widths:
        raise _refused(f"FFNs of {', '.join(map(str, sorted(widths)))} neurons")
    return int(widths.pop())


def _refused(found: str) -> ModelError:
    return ModelError(
        f"a stock config cannot state a part of this model: {found}. Prune with layout='stock', or save it "
        "as it is: prune_ssl loads it."
    )


def _renumbered(state: Mapping[str, torch.Tensor], stem: str, alive: list[int]) -> dict[str, torch.Tensor]:
    """Return a state_dict without the layers that are gone; the others are counted from 0."""
    numbers = {str(old): str(new) for new, old in enumerate(alive)}
    renamed = {}
    for name, value in state.items():
        if not name.startswith(stem):
            renamed[name] = value
            continue
        number, _, rest = name.removeprefix(stem).partition(".")
        if number in numbers:
            renamed[f"{stem}{numbers[number]}.{rest}"] = value
    return renamed
