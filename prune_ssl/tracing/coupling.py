"""Couplings: the slices that torch-pruning's dependency graph of the twin couples, checked op by op."""

import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
import torch_pruning as tp
from torch import nn
from torch_pruning.dependency import index_mapping

from prune_ssl.errors import TraceError
from prune_ssl.models import Family
from prune_ssl.tracing.graph import ParameterSlice, Role
from prune_ssl.tracing.twin import on_meta, probe_input, probe_seconds

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d)
LEAVES = (nn.Linear, nn.Conv1d, *NORMS)
# Operations that act on each unit alone, or only move axes: a group may pass through them. The dependency
# graph takes any operation that it does not know for one of these without a word, so every name is checked.
ELEMENTWISE = {
    *("Gelu", "Erf", "Relu", "Silu", "LeakyRelu", "Elu", "Mish", "Softplus", "Hardswish", "Hardsigmoid"),
    *(
        "HardtanhBackward",
        "Hardtanh",
        "Tanh",
        "Sigmoid",
        "LogSigmoid",
        "Exp",
        "Log",
        "Log1P",
        "Sqrt",
        "Rsqrt",
    ),
    *("Pow", "Abs", "Neg", "Sin", "Cos", "Clamp", "ClampMin", "ClampMax", "Minimum", "Maximum"),
    *("Mul", "Div", "Add", "Sub", "Rsub", "Addcmul", "Where", "MaskedFill", "ToCopy"),
    *("NativeDropout", "Dropout", "FusedDropout", "Transpose", "T", "Permute", "Clone", "Alias", "Detach"),
    *("Unsqueeze", "Squeeze", "View", "UnsafeView", "Reshape", "ReshapeAlias", "Expand", "Contiguous"),
    *("Addmm", "Mm"),  # a Linear over a batch: the graph has these nodes and the module itself
}
# What an attention does with queries, keys and values: whole heads pass through it. A softmax or a product of
# matrices anywhere else mixes units.
ATTENTION = {
    *("Bmm", "Baddbmm", "Softmax", "SafeSoftmax"),
    *("ScaledDotProductAttention", "ScaledDotProductFlashAttentionForCpu"),
    "ScaledDotProductEfficientAttention",
}
MAP_INDICES = index_mapping.update_index_mapping
STRUCTURAL = (tp.ops.OPTYPE.RESHAPE, tp.ops.OPTYPE.EXPAND)


class Couplings:
    """The dependency graph of the twin's backbone, which gives the slices that go with a layer's outputs.

    It covers the backbone only: heads read the residual stream, and x-vector pooling cannot be traced.
    """

    def __init__(self, twin: nn.Module, backbone: nn.Module, family: Family, prefix: str) -> None:
        self.twin = twin
        # A norm over channels transposes around the norm of torch, and the graph sees two nodes.
        self.elementwise = ELEMENTWISE | ({"NativeLayerNorm"} if family.channel_norms else set())
        self.paths = {module: path for path, module in twin.named_modules()}
        with warnings.catch_warnings(), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            # torch-pruning warns of every plain parameter; prune_ssl accounts for them.
            warnings.simplefilter("ignore")
            inputs = probe_input(backbone, family, probe_seconds(family))
            with on_meta(family):
                self.graph = tp.DependencyGraph().build_dependency(
                    backbone, inputs, output_transform=_tensors, verbose=False
                )
        known = set(self.graph.module2node)
        self.not_reached = {
            prefix + path: "not reached by the forward pass that was traced"
            for path, module in backbone.named_modules()
            if isinstance(module, LEAVES) and module not in known
        }

    def take_apart(self) -> None:
        """Unlink the graph, whose nodes hold one another and the twin.

        Python looks for such circles late, and 7,000 objects of each trace would wait for it.
        """
        for node in [*self.graph.module2node.values()]:
            vars(node).clear()
        vars(self.graph).clear()

    def coupled(self, root_path: str, group: str, attention: bool = False) -> list[ParameterSlice]:
        """Return the slices that go with the output units of the module at `root_path`.

        Args:
            root_path: path of a Linear or convolution.
            group: the name of the units.
            attention: whether the units are values on their way through a known attention.

        Raises:
            TraceError: the units pass through an operation that may mix them.
        """
        root = self.twin.get_submodule(root_path)
        cut = tp.prune_conv_out_channels if isinstance(root, nn.Conv1d) else tp.prune_linear_out_channels
        size = root.get_parameter("weight").shape[0]
        slices: list[ParameterSlice] = []
        known = self.elementwise | (ATTENTION if attention else set())
        probe = sorted({0, min(1, size - 1), size // 2, size - 1})  # the graph's time grows with the units
        with _nothing_pruned_since():
            found = self.graph.get_pruning_group(root, cut, probe)
        for dependency, units in found:
            module = dependency.target.module
            path = self.paths.get(module)
            if path is None:
                _check_transparent(dependency.target, group, known)
                continue
            refuse_unless(list(units) == probe, path, f"group {group} reaches it out of order")
            if isinstance(module, NORMS):
                _check_norm(module, path, size)
                held = [leaf for leaf, value in module.state_dict().items() if value.dim() == 1]
                slices += [slice_of(self.twin, f"{path}.{leaf}", 0, "norm") for leaf in held]
            elif dependency.handler.__name__ == "prune_out_channels":
                slices += producer(self.twin, path)
            else:
                refuse_unless(isinstance(module, nn.Linear | nn.Conv1d), path, "unknown reader")
                slices.append(slice_of(self.twin, f"{path}.weight", 1, "consumer"))
        return slices


@contextmanager
def _nothing_pruned_since() -> Iterator[None]:
    """Keep torch-pruning from mapping the indices of the whole graph again for every group.

    It does so because pruning changes sizes, which does not happen here. For a model of 48 layers the mapping
    takes a third of the time of tracing.
    """
    index_mapping.update_index_mapping = lambda graph: None
    try:
        yield
    finally:
        index_mapping.update_index_mapping = MAP_INDICES


def _tensors(outputs: torch.Tensor | Mapping[str, object] | Iterable[object]) -> list[torch.Tensor]:
    """Return the tensors in the output of a model: a tensor, a mapping, or a tuple with gaps."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    values = outputs.values() if isinstance(outputs, Mapping) else outputs
    return [value for value in values if isinstance(value, torch.Tensor)]


def _check_transparent(node: tp.dependency.Node, group: str, known: set[str]) -> None:
    if node.type in STRUCTURAL:
        return
    found = re.search(r"\((\w+?)Backward\d*\)", node.name)
    operation = found.group(1) if found else node.name
    if node.type == tp.ops.OPTYPE.ELEMENTWISE and operation in known:
        return
    raise TraceError(
        f"group {group} passes through the operation {operation!r}, which prune_ssl does not know to be "
        "channel-wise. The model's forward differs from the stock one; restore it or ask for support."
    )


def _check_norm(module: nn.Module, path: str, size: int) -> None:
    if isinstance(module, nn.GroupNorm):
        refuse_unless(
            module.num_groups == size,
            path,
            f"{module.num_groups} groups over {size} channels: removing a channel changes its "
            "neighbours' statistics; wanted one group per channel",
        )


def refuse_unless(holds: bool, path: str, why: str) -> None:
    """Raise TraceError unless `holds`."""
    if not holds:
        raise TraceError(f"{path or 'the model'} cannot be pruned: {why}.")


def slice_of(twin: nn.Module, name: str, dim: int, role: Role, width: int = 1) -> ParameterSlice:
    """Return a slice of a parameter or buffer whose units are `width` neighbouring entries along `dim`."""
    owner = twin.get_submodule(name.rpartition(".")[0])
    tensor: torch.Tensor = getattr(owner, name.rpartition(".")[2])
    return ParameterSlice(name, dim, role, np.arange(tensor.shape[dim]).reshape(-1, width))


def producer(twin: nn.Module, path: str, width: int = 1) -> list[ParameterSlice]:
    """Return the slices of a module that computes the units: all its parameters along their first axis."""
    module = twin.get_submodule(path)
    return [slice_of(twin, f"{path}.{leaf}", 0, "producer", width) for leaf, _ in module.named_parameters()]


def stored_name(stored: Collection[str], path: str) -> str:
    """Return the parameter that holds a module's weight in the model (weight norm keeps directions)."""
    names = (f"{path}.weight", f"{path}.parametrizations.weight.original1", f"{path}.weight_v")
    return next(name for name in names if name in stored)


def members_under(twin: nn.Module, path: str, family: Family, but: str = "") -> tuple[str, ...]:
    """Return the names of the parameters of a module that go with it.

    Args:
        twin: the traced twin.
        path: of the module.
        family: of the model; parameters that it shares between layers stay when the module goes.
        but: the start of further names that stay, if any.
    """
    shared = tuple(f".{each}." for each in family.attention.shared)
    names = (f"{path}.{name}" for name, _ in twin.get_submodule(path).named_parameters())
    return tuple(
        name
        for name in names
        if not any(each in name for each in shared) and not (but and name.startswith(but))
    )


def require_coupled(path: str, found: set[str], wanted: set[str], subset: bool = False) -> None:
    """Refuse couplings that are not those that the roles say; with `subset` some may be missing.

    Raises:
        TraceError: they differ.
    """
    if not (found <= wanted if subset else found == wanted):
        raise TraceError(
            f"{path} cannot be pruned: the graph couples {sorted(found)}, wanted {sorted(wanted)}."
        )
