"""Strangers: what in a model no table of ours describes, and the law that its groups are held to."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import nn

from prune_ssl.models import Family

if TYPE_CHECKING:
    from prune_ssl.tracing.graph import PruningGraph

# Whose forward the family table describes, or which never see a group's units but one by one.
KNOWN_PACKAGES = ("transformers.", "torchaudio.models.", "torchaudio.transforms.", "prune_ssl.")
PLAIN = {
    *("Linear", "NonDynamicallyQuantizableLinear", "Conv1d", "Embedding", "MultiheadAttention"),
    *("LayerNorm", "GroupNorm", "BatchNorm1d", "Dropout", "Identity", "GLU", "AvgPool1d"),
    *("ModuleList", "ModuleDict", "Sequential", "ParameterList", "ParametrizationList", "_WeightNorm"),
    *("ParametrizedConv1d", "CrossEntropyLoss", "CosineSimilarity"),
}
ACTIVATIONS = {nn.GELU, nn.ReLU, nn.ReLU6, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid, nn.LeakyReLU, nn.ELU}
ACTIVATIONS |= {nn.Hardtanh, nn.Hardswish, nn.Softplus}

Law = Callable[[nn.Module, "PruningGraph", Family], dict[str, str]]
_LAW: list[Law] = []


def judge_with(law: Law) -> None:
    """Name the function (model, graph, family) -> group -> why it fails, by which strangers are judged.

    It takes gates and cutting, which are built on tracing: the room that has both names it here.
    """
    _LAW[:] = [law]


def strange_part(model: nn.Module) -> str:
    """Return the path and class of a module that no table describes, or "" when there is none."""
    for path, module in model.named_modules():
        cls = type(module)
        torchs = cls.__module__.startswith("torch.")
        known = (cls.__name__ in PLAIN or cls in ACTIVATIONS) if torchs else False
        known |= cls.__module__.startswith(KNOWN_PACKAGES)
        if not known or "forward" in vars(module):
            return f"{path or 'the model'} ({cls.__module__}.{cls.__qualname__})"
    return ""


def broken_by(model: nn.Module, graph: "PruningGraph", family: Family) -> dict[str, str]:
    """Return group -> reason for the groups of a model with strange parts that break the law."""
    return _LAW[0](model, graph, family)
