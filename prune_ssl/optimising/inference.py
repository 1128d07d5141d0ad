"""optimize_for_inference(): rebuilds a model for speed; its outputs stay the same to rounding."""

import copy
from pathlib import Path

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from prune_ssl.families.wavlm_attention import PositionBias
from prune_ssl.models import Family, backbone_of, family_of
from prune_ssl.models.arguments import as_model
from prune_ssl.models.optimised import is_optimised, mark_optimised_
from prune_ssl.models.transformers_internals import state_attention
from prune_ssl.optimising.convolutions import FramewiseConv1d, FramewiseLayer, can_be_framewise
from prune_ssl.optimising.folding import fold_
from prune_ssl.tracing.twin import open_attentions


def optimize_for_inference(model: nn.Module | str | Path, *, inplace: bool = False) -> nn.Module:
    """Return the same function as `model` in evaluation mode, equal to 1e-5, that takes less time.

    Weight norms are folded, and dropouts go. The positional convolution and frontends with layer norms
    compute frame by frame, without copies between two orders of memory. WavLM's attention uses a fused
    kernel, and keeps its table of positions for the last length of audio. docs/optimised.md has the gains.

    The result only computes: it refuses training, saving and pruning. WavLM's gives no attention maps, so
    that a model whose config asks for maps keeps its attention.

    Args:
        model: A dense or pruned speech SSL model, its folder or its hub name.
        inplace: Whether to change the given model itself, which saves the memory of a copy. The given model
            is then optimised as well. Otherwise it stays as it is.

    Returns:
        The optimised model in evaluation mode; a model that is optimised already is returned as it is.

    Raises:
        ModelError: the argument is no model of a known family.

    >>> from transformers import HubertConfig, HubertModel
    >>> config = HubertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    >>> fast = optimize_for_inference(HubertModel(config))
    >>> fast.training
    False
    """
    if isinstance(model, nn.Module) and is_optimised(model):
        return model
    given = as_model(model, "optimize_for_inference")
    family_of(given)  # refuses a model of no family, before it is copied
    made = given if inplace else copy.deepcopy(given)
    for parameter in made.parameters():
        parameter.requires_grad_(False)
    fold_(made.eval())
    _, backbone = backbone_of(made)
    family = family_of(made)
    _order_by_frames(backbone, family)
    _fuse_attention(backbone, family)
    for module in made.modules():
        if isinstance(module, PositionBias):
            module.keep_bias = True
    mark_optimised_(made)
    return made


def _order_by_frames(backbone: nn.Module, family: Family) -> None:
    """Let convolutions compute in the order of memory that their neighbours have."""
    for path in family.position_convs_of(backbone):
        conv = backbone.get_submodule(path)
        if type(conv) is nn.Conv1d and conv.padding_mode == "zeros":
            backbone.set_submodule(path, FramewiseConv1d(conv))
    for path in family.convs(backbone) if family.conv else ():
        place = path.rpartition(".")[0]
        layer = backbone.get_submodule(place) if place else backbone
        if place and can_be_framewise(layer):
            backbone.set_submodule(place, FramewiseLayer(layer))


def _fuse_attention(backbone: nn.Module, family: Family) -> None:
    """Let an attention with position biases, which the stock class computes step by step, be one kernel."""
    if family.attention.opened is None:
        return
    config = getattr(backbone, "config", None)
    if getattr(config, "output_attentions", False) or getattr(config, "reused_maps", None):
        return
    open_attentions(backbone, family)
    if isinstance(backbone, PreTrainedModel) and isinstance(config, PreTrainedConfig):
        state_attention(config, "sdpa")
