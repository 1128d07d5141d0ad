"""Folding: weights that are computed at every call become plain ones, and parts that do nothing go."""

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.weight_norm import WeightNorm

from prune_ssl.models.torch_internals import hooks_of

NO_OPS = (nn.Dropout, nn.Dropout1d, nn.AlphaDropout)
"""Modules that pass their input on in evaluation mode."""


def fold_(model: nn.Module) -> nn.Module:
    """Fold the weight norms of convolutions into plain weights, and replace dropouts by identities.

    The function of the model in evaluation mode stays the same. The names of its tensors change.

    Returns:
        The same model, changed in place.

    >>> conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 2, 3))
    >>> [name for name, _ in fold_(nn.Sequential(conv, nn.Dropout(0.1))).named_parameters()]
    ['0.weight', '0.bias']
    """
    for path, module in list(model.named_modules()):
        if isinstance(module, NO_OPS):
            model.set_submodule(path, nn.Identity())
        elif isinstance(module, nn.Conv1d) and has_weight_norm(module):
            model.set_submodule(path, plain_convolution(module))
    return model


def has_weight_norm(module: nn.Module) -> bool:
    """Return whether the weight of a module is computed at every call, by a parametrization or a hook."""
    return parametrize.is_parametrized(module, "weight") or _hook(module) is not None


def _hook(module: nn.Module) -> WeightNorm | None:
    found = (each for each in hooks_of(module) if isinstance(each, WeightNorm) and each.name == "weight")
    return next(found, None)


def plain_convolution(module: nn.Conv1d) -> nn.Conv1d:
    """Return a convolution with the weight that `module` computes.

    It is a new module, because removing a parametrization edits a class that copies of the module share.
    """
    hook = _hook(module)
    with torch.no_grad():
        weight = module.weight if hook is None else hook.compute_weight(module)
    made = nn.Conv1d(
        module.in_channels,
        module.out_channels,
        module.kernel_size[0],
        module.stride[0],
        module.padding if isinstance(module.padding, str) else module.padding[0],
        module.dilation[0],
        module.groups,
        bias=module.bias is not None,
        padding_mode=module.padding_mode,
        device="meta",
    )
    made.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    made.bias = module.bias
    return made.train(module.training)
