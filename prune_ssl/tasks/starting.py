"""The initialisation of random layers from data: each layer is scaled and shifted so that clips differ.

In a fresh narrow model every ReLU or GELU and every pooling makes the clips more similar. After a frontend
and an x-vector head (which has no norm) the cosines between clips are near 1. A loss of angles such as
AM-softmax then cannot separate speakers and stays at chance. Other recipes that train from scratch put a
batch norm after every layer. Here the weights are normalised once, from the statistics of a few clips, so
that the model stays a stock one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from prune_ssl.data import Clip, ClipDataset, SpeechCollator
from prune_ssl.models import backbone_of
from prune_ssl.tasks.verification import has_xvector

CLIPS = 64
"""The number of clips for the statistics, spread evenly over train."""


Layer = tuple[nn.Module, nn.Module]
"""A module with `weight` and `bias`, and the module whose input or output equals the first one's output."""


def start_(
    model: PreTrainedModel, clips: Sequence[Clip], collator: SpeechCollator, *, backbone: bool, head: bool
) -> None:
    """Change the chosen layers in place so that their outputs have mean 0 and deviation 1 per unit.

    One forward pass does all layers, without padding (clips are cut to the shortest). The method is that of
    Salimans & Kingma, Weight Normalization (2016), section 3, and of Mishkin & Matas, All You Need Is a Good
    Init (2016).

    Args:
        model: Any model. Layers that it does not have are skipped.
        clips: Clips of train.
        collator: Makes the model's batches.
        backbone: Whether to change the convolutions and the projection of a random backbone.
        head: Whether to change the layers of a fresh x-vector head. Other heads have one or two layers and do
            not need it.
    """
    layers = [*(frontend_layers(model) if backbone else ()), *(xvector_layers(model) if head else ())]
    chosen = clips[:: -(-len(clips) // CLIPS)]
    dataset = ClipDataset(chosen, lambda _: 0, skip_unusable=True)
    items = [dataset[index] for index in range(len(dataset))]
    shortest = min(len(item["input_values"]) for item in items)
    batch = collator([{"input_values": item["input_values"][:shortest]} for item in items])
    handles = [_hook(*layer) for layer in layers]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            model(batch[collator.name].to(device=model.device, dtype=model.dtype))
    finally:
        for handle in handles:
            handle.remove()
        model.train(training)


def frontend_layers(model: PreTrainedModel) -> Iterator[Layer]:
    """Yield the norm of each frontend layer (or its convolution if it has no norm), and the projection."""
    _, backbone = backbone_of(model)
    for layer in getattr(getattr(backbone, "feature_extractor", None), "conv_layers", ()):
        module = getattr(layer, "layer_norm", layer.conv)
        if module.bias is not None:
            yield module, module
    projection = getattr(getattr(backbone, "feature_projection", None), "projection", None)
    if isinstance(projection, nn.Linear):
        yield projection, projection


def xvector_layers(model: PreTrainedModel) -> Iterator[Layer]:
    """Yield the layers of an x-vector head from first to last. Any other model gives none."""
    if not has_xvector(model):
        return
    yield (model.get_submodule("projector"),) * 2
    for layer in model.get_submodule("tdnn").children():
        # The layer passes its Linear's weight to a functional convolution, whose output the activation gets.
        yield layer.get_submodule("kernel"), layer.get_submodule("activation")
    for name in ("feature_extractor", "classifier"):
        yield (model.get_submodule(name),) * 2


def _hook(layer: nn.Module, observed: nn.Module) -> RemovableHandle:
    if observed is layer:
        return observed.register_forward_hook(lambda _module, _args, output: standardise_(layer, output))
    return observed.register_forward_pre_hook(lambda _module, args: (standardise_(layer, args[0]),))


def standardise_(layer: nn.Module, output: torch.Tensor) -> torch.Tensor:
    """Change `layer` so that `output` has mean 0 and deviation 1 per unit, and return the changed output.

    Units are the last dimension, or the second if `layer` is a convolution or a GroupNorm. A unit with a
    constant output is only shifted.
    """
    axis = 1 if isinstance(layer, (nn.Conv1d, nn.GroupNorm)) else output.dim() - 1
    dims = tuple(dim for dim in range(output.dim()) if dim != axis)
    mean, deviation = output.mean(dim=dims), output.std(dim=dims)
    deviation = torch.where(deviation > torch.finfo(output.dtype).eps, deviation, torch.ones_like(deviation))
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    weight.div_(deviation.view(-1, *[1] * (weight.dim() - 1)))
    bias.sub_(mean).div_(deviation)
    shape = [1] * output.dim()
    shape[axis] = -1
    return (output - mean.view(shape)) / deviation.view(shape)
