"""Owns the start of random layers: each is scaled and shifted so that clips differ from the first step.

In a fresh narrow model every ReLU or GELU and every pooling makes the clips more alike: after a frontend and
an x-vector head (which has no norm) the cosines between clips are near 1, so that a loss of angles such as
AM-softmax sees no speakers and stays at chance. Recipes that train from scratch put a batch norm after every
layer; here the same is done once, to the weights, by what a few clips give: the model stays a stock one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from prune_ssl.data import Clip, ClipDataset, SpeechCollator
from prune_ssl.models import backbone_of
from prune_ssl.tasks.verification import has_xvector

CLIPS = 64
"""Clips that the statistics are taken of, evenly spread over train."""

Layer = tuple[nn.Module, nn.Module]
"""A module with `weight` and `bias`, and the one whose input or output is what it gives."""


def start_(
    model: PreTrainedModel, clips: Sequence[Clip], collator: SpeechCollator, *, backbone: bool, head: bool
) -> None:
    """Give the chosen layers, in place, outputs of mean 0 and deviation 1 per unit over some clips.

    All are done in one forward pass without padding (clips are cut to the shortest). Salimans & Kingma,
    Weight Normalization (2016), section 3; Mishkin & Matas, All You Need Is a Good Init (2016).

    Args:
        model: any; layers that are not there are left out.
        clips: Of train.
        collator: As the model wants its audio.
        backbone: Convolutions and projection of a random backbone.
        head: The layers of a fresh x-vector head; other heads are one or two layers and need no help.
    """
    layers = [*(frontend_layers(model) if backbone else ()), *(xvector_layers(model) if head else ())]
    chosen = clips[:: -(-len(clips) // CLIPS)]
    heard = ClipDataset(chosen, lambda _: 0, skip_unusable=True)
    items = [heard[index] for index in range(len(heard))]
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
    """Yield what gives the frontend's activations: norms, convolutions without one, the projection."""
    _, backbone = backbone_of(model)
    for layer in getattr(getattr(backbone, "feature_extractor", None), "conv_layers", ()):
        giver: Any = getattr(layer, "layer_norm", layer.conv)
        if giver.bias is not None:
            yield giver, giver
    projection = getattr(getattr(backbone, "feature_projection", None), "projection", None)
    if isinstance(projection, nn.Linear):
        yield projection, projection


def xvector_layers(model: PreTrainedModel) -> Iterator[Layer]:
    """Yield the layers of an x-vector head, first to last; of any other model none."""
    if not has_xvector(model):
        return
    yield (model.get_submodule("projector"),) * 2
    for layer in model.get_submodule("tdnn").children():
        # The layer hands its Linear's weight to a convolution: what comes out is seen by the activation.
        yield layer.get_submodule("kernel"), layer.get_submodule("activation")
    for name in ("feature_extractor", "classifier"):
        yield (model.get_submodule(name),) * 2


def _hook(giver: nn.Module, seen: nn.Module) -> RemovableHandle:
    if seen is giver:
        return seen.register_forward_hook(lambda _module, _args, output: standardise_(giver, output))
    return seen.register_forward_pre_hook(lambda _module, args: (standardise_(giver, args[0]),))


def standardise_(giver: Any, output: torch.Tensor) -> torch.Tensor:
    """Change `giver` so that its output had mean 0 and deviation 1 per unit; return that output.

    Units are the last dimension, or the second where `giver` is a convolution or a GroupNorm. One that is the
    same everywhere is shifted only.
    """
    axis = 1 if isinstance(giver, (nn.Conv1d, nn.GroupNorm)) else output.dim() - 1
    dims = tuple(dim for dim in range(output.dim()) if dim != axis)
    mean, deviation = output.mean(dim=dims), output.std(dim=dims)
    deviation = torch.where(deviation > torch.finfo(output.dtype).eps, deviation, torch.ones_like(deviation))
    giver.weight.div_(deviation.view(-1, *[1] * (giver.weight.dim() - 1)))
    giver.bias.sub_(mean).div_(deviation)
    shape = [1] * output.dim()
    shape[axis] = -1
    return (output - mean.view(shape)) / deviation.view(shape)
