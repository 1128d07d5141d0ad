"""After a cut: every module states its new sizes, and the model gets the config that rebuilds it."""

from collections.abc import Mapping, Sequence

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from prune_ssl.models import Family
from prune_ssl.models.attention import OpenAttention
from prune_ssl.models.empty import BiasOnly
from prune_ssl.models.layers import is_alive, stated_size
from prune_ssl.models.pruned import to_pruned_class
from prune_ssl.models.sizes import LayerSizes, stated_head_size
from prune_ssl.tracing import PruningGraph

Fields = dict[str, object]
"""Fields of a config, by name."""


def state(module: nn.Module, **sizes: int) -> None:
    """Let a module state sizes of its own, such as `in_conv_dim`, which torch knows nothing of."""
    for name, size in sizes.items():
        setattr(module, name, size)


def restate_sizes(model: nn.Module, graph: PruningGraph, kept: Mapping[str, Sequence[int]]) -> None:
    """Let Linears, convolutions and norms state the sizes that their parameters have."""
    touched = {part.module for group in graph.groups.values() for part in group.slices}
    touched |= {path for group in graph.groups.values() for path in group.norms}
    # A slice may name a tensor of a weight norm; the convolution is the module that holds the whole weight.
    touched = {path.removesuffix(".parametrizations.weight") for path in touched}
    modules = dict(model.named_modules())
    for path in touched & modules.keys():
        weight = getattr(modules[path], "weight", None)
        if weight is not None:
            _restate(modules[path], tuple(weight.shape))
    for module in modules.values():
        if "hidden" in kept and isinstance(module, BiasOnly):  # its block was emptied by an earlier cut
            module.size = module.size // graph.groups["hidden"].size * len(kept["hidden"])
    _restate_bare_norms(modules, graph, kept)


def _restate(module: nn.Module, shape: tuple[int, ...]) -> None:
    """Let a module state the sizes that go with the shape of its weight."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = shape
    elif isinstance(module, nn.Conv1d):
        if module.groups > 1:  # whole groups are cut, and each of those that stay keeps its channels
            module.groups = shape[0] * module.groups // module.out_channels
        module.out_channels, module.in_channels = shape[0], shape[1] * module.groups
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = shape
    elif isinstance(module, nn.GroupNorm):
        module.num_channels = module.num_groups = shape[0]
    elif isinstance(module, nn.BatchNorm1d):
        module.num_features = shape[0]
    elif isinstance(module, nn.LayerNorm) and shape:
        module.normalized_shape = shape


def _restate_bare_norms(
    modules: Mapping[str, nn.Module], graph: PruningGraph, kept: Mapping[str, Sequence[int]]
) -> None:
    """Let norms without parameters, such as the positional ones of Data2Vec, state the width of the keep."""
    for name, units in kept.items():
        for path in graph.groups[name].norms:
            module = modules[path]
            if isinstance(module, nn.LayerNorm) and not module.elementwise_affine:
                each = module.normalized_shape[0] // graph.groups[name].size
                module.normalized_shape = (each * len(units),)


def restate_config(
    model: PreTrainedModel, graph: PruningGraph, family: Family, kept: Mapping[str, Sequence[int]]
) -> None:
    """Give `model` its pruned class, and a config with the fields that changed."""
    backbone, config = model.get_submodule(graph.backbone), model.config
    stated = stated_head_size(config)
    fields: Fields = {
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
        rows = stated_size(backbone, f"{family.upsampling}.out_features")
        fields["upsampled_size"] = rows // getattr(config, family.squeeze)
    to_pruned_class(model, fields)


def _residual_fields(backbone: nn.Module, config: PreTrainedConfig, family: Family, width: int) -> Fields:
    """Return the fields that a narrower residual stream changes; rotary attentions learn their new heads."""
    roles = family.attention
    alive = [layer.get_submodule(roles.path) for layer in family.layers(backbone) if is_alive(layer, roles)]
    size = stated_head_size(config)
    fields: Fields = {"hidden_size": width}
    positions = roles.kind(config)
    if positions == "rotary":  # these positions turn slices of the residual stream, each of a head's size
        fields["num_attention_heads"] = width // size
        for block in alive:
            setattr(block, roles.head_count, width // size)
    else:
        fields["head_size"] = size
    if positions == "relative":
        fields["position_size"] = stated_size(backbone, f"{family.position_table}.d_model")
    opened = [block for block in alive if isinstance(block, OpenAttention)]
    if roles.by_slices and opened:
        left = opened[0].residual
        fields["residual_dims"] = left and left.dims
        fields["residual_scales"] = left and left.scales
    if getattr(config, "output_hidden_size", None) == config.hidden_size:
        fields["output_hidden_size"] = width
    for path in family.position_convs_of(backbone)[:1]:
        fields["num_conv_pos_embedding_groups"] = stated_size(backbone, f"{path}.groups")
    return fields


def _conv_dims(backbone: nn.Module, family: Family) -> list[int]:
    """Return the widths of the frontend; its layers state them too."""
    widths = [1]
    for path in family.convs(backbone):
        widths.append(stated_size(backbone, f"{path}.out_channels"))
        layer = backbone.get_submodule(path.rpartition(".")[0])
        if hasattr(layer, "in_conv_dim"):
            state(layer, in_conv_dim=widths[-2], out_conv_dim=widths[-1])
    return widths[1:]
