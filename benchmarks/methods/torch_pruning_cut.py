"""A model cut by torch-pruning's own pruner to a share of its MACs."""

import copy

import torch
import torch_pruning as tp
from torch import nn
from torch.nn.utils import parametrize
from torch_pruning_side_by_side import declared_heads

from prune_ssl import trace
from prune_ssl.models import FAMILIES, backbone_of


def cut_by_torch_pruning(model: nn.Module, fraction: float, seconds: float) -> nn.Module:
    """Return what its pruner makes of the model with the smallest ratio that keeps `fraction` of the MACs."""
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    model.set_attn_implementation("eager")  # type: ignore[operator]
    most = fraction * macs_of(model, seconds)

    def fits(percent: int) -> bool:
        return macs_of(_pruned(model, percent, seconds), seconds) <= most

    coarse = next(percent for percent in range(5, 100, 5) if fits(percent))
    made = _pruned(model, next(each for each in range(coarse - 4, coarse + 1) if fits(each)), seconds)
    made.set_attn_implementation("sdpa")  # type: ignore[operator]
    return made


def macs_of(model: nn.Module, seconds: float) -> int:
    return trace(model).cost(seconds=seconds).macs


def _pruned(model: nn.Module, percent: int, seconds: float) -> nn.Module:
    model = copy.deepcopy(model)
    name, backbone = backbone_of(model)
    pruner = tp.pruner.BasePruner(
        model,
        torch.randn(1, round(seconds * 16_000)),
        importance=tp.importance.MagnitudeImportance(p=2),
        pruning_ratio=percent / 100,
        ignored_layers=[model.classifier],
        num_heads=declared_heads(backbone, FAMILIES[name]),
        prune_num_heads=True,
        prune_head_dims=False,  # with them, what is left of a head fits no head size and the model fails
        head_pruning_ratio=percent / 100,
    )
    pruner.step()
    return model
