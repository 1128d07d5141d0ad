"""After a cut: every module's own account of its sizes, and the config that rebuilds the model."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from prune_ssl.models import Family
from prune_ssl.models.empty import BiasOnly
from prune_ssl.models.layers import is_alive
from prune_ssl.models.pruned import to_pruned_class
from prune_ssl.models.sizes import LayerSizes, stated_head_size
from prune_ssl.tracing import PruningGraph


def restate_sizes(model: nn.Module, graph: PruningGraph, kept: Mapping[str, Sequence[int]]) -> None:
    """Make Linears, convolutions and norms agree with their parameters."""
    touched = {part.module for group in graph.groups.values() for part in group.slices}
    touched |= {path for group in graph.groups.values() for path in group.norms}
    modules: dict[str, Any] = dict(model.named_modules())
    for path in touched & modules.keys():
        module = modules[path]
        weight = getattr(module, "weight", None)
        shape: tuple[int, ...] = tuple(weight.shape) if weight is not None else ()
        if isinstance(module, nn.Linear):
            module.out_features, module.in_features = shape
        elif isinstance(module, nn.Conv1d):
            _restate_conv(module, shape)
        elif isinstance(module, nn.Embedding):
            module.num_embeddings, module.embedding_dim = shape
        elif isinstance(module, nn.GroupNorm):
            module.num_channels = module.num_groups = shape[0]
        elif isinstance(module, nn.BatchNorm1d):
            module.num_features = shape[0]
        elif isinstance(module, nn.LayerNorm) and shape:
            module.normalized_shape = shape
    for module in modules.values():
        if "hidden" in kept and isinstance(module, BiasOnly):  # of a block that was emptied before
            module.size = module.size // graph.groups["hidden"].size * len(kept["hidden"])
    _restate_bare_norms(modules, graph, kept)
    _restate_weight_norms(modules, graph)


def _restate_conv(module: nn.Conv1d, shape: tuple[int, ...]) -> None:
    """Convolutions in groups lose whole groups, so that the channels of each group stay as they were."""
    if module.groups > 1:
        module.groups = shape[0] * module.groups // module.out_channels
    module.out_channels, module.in_channels = shape[0], shape[1] * module.groups


def _restate_bare_norms(
    modules: Mapping[str, Any], graph: PruningGraph, kept: Mapping[str, Sequence[int]]
) -> None:
    """Norms without parameters (Data2Vec's positional ones) learn their width from the keep."""
    for name, units in kept.items():
        for path in graph.groups[name].norms:
            module: Any = modules[path]
            if isinstance(module, nn.LayerNorm) and not module.elementwise_affine:
                each = module.normalized_shape[0] // graph.groups[name].size
                module.normalized_shape = (each * len(units),)


def _restate_weight_norms(modules: Mapping[str, Any], graph: PruningGraph) -> None:
    """Slices name the parametrization's tensors; the convolution itself is their owner."""
    for group in graph.groups.values():
        for part in group.slices:
            path = part.module.removesuffix(".parametrizations.weight")
            if path != part.module:
                _restate_conv(modules[path], tuple(modules[path].weight.shape))


def restate_config(
    model: PreTrainedModel, graph: PruningGraph, family: Family, kept: Mapping[str, Sequence[int]]
) -> None:
    """Give `model` its pruned class and the config fields that changed."""
    backbone: Any = model.get_submodule(graph.backbone)
    config: Any = model.config
    stated = stated_head_size(config)
    fields: dict[str, Any] = {
        "pruned_layers": {
            str(index): LayerSizes.read(layer, family, stated).to_config()
            for index, layer in enumerate(family.layers(backbone))
        }
    }
    if family.conv:
        fields["conv_dim"] = _conv_dims(backbone, family)
    if "hidden" in kept:
        width = len(kept["hidden"]) * config.hidden_size // graph.groups["hidden"].size
        fields |= _residual_fields(backbone, config, family, width)
    if family.projection_flag and getattr(backbone, family.projection_flag):
        fields["project_features"] = True
    if family.upsampling:
        rows = backbone.get_submodule(family.upsampling).out_features
        fields["upsampled_size"] = rows // getattr(config, family.squeeze)
    to_pruned_class(model, fields)


def _residual_fields(backbone: Any, config: Any, family: Family, width: int) -> dict[str, Any]:
    """Return the fields that a narrower residual stream changes, and tell rotary attentions of it."""
    roles = family.attention
    alive: list[Any] = [
        layer.get_submodule(roles.path) for layer in family.layers(backbone) if is_alive(layer, roles)
    ]
    size = stated_head_size(config)
    fields: dict[str, Any] = {"hidden_size": width}
    positions = roles.kind(config)
    if positions == "rotary":  # which turn whole slices of the residual, each of a head's size
        fields["num_attention_heads"] = width // size
        for block in alive:
            block.num_heads = width // size
    else:
        fields["head_size"] = size
    if positions == "relative":
        fields["position_size"] = backbone.get_submodule(family.position_table).d_model
    if roles.by_slices and alive:
        left = alive[0].residual
        fields["residual_dims"] = left and left.dims
        fields["residual_scales"] = left and left.scales
    if getattr(config, "output_hidden_size", None) == config.hidden_size:
        fields["output_hidden_size"] = width
    for path in family.position_convs_of(backbone)[:1]:
        fields["num_conv_pos_embedding_groups"] = backbone.get_submodule(path).groups
    return fields


def _conv_dims(backbone: Any, family: Family) -> list[int]:
    """Return the frontend's widths, and tell the layers that keep an account of them."""
    widths = [1]
    for path in family.convs(backbone):
        layer = backbone.get_submodule(path.rpartition(".")[0])
        widths.append(backbone.get_submodule(path).out_channels)
        if hasattr(layer, "in_conv_dim"):
            layer.in_conv_dim, layer.out_conv_dim = widths[-2:]
    return widths[1:]
