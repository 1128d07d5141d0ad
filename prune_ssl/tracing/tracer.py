"""trace(): from a model to its PruningGraph, by torch-pruning's dependency graph on a meta twin."""

import re
import warnings
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import torch
import torch_pruning as tp
from torch import nn

from prune_ssl.errors import ModelError, TraceError
from prune_ssl.models import Family, backbone_of, family_of
from prune_ssl.models.sharing import SharedMapAttention
from prune_ssl.tracing.cost import Clock, CostTerm
from prune_ssl.tracing.graph import Group, ParameterSlice, PruningGraph, Role
from prune_ssl.tracing.twin import find_clocks, make_twin, probe_input

NORMS = (nn.LayerNorm, nn.GroupNorm)
LEAVES = (nn.Linear, nn.Conv1d, *NORMS)
# Operations that act on each channel alone, or only move axes: a group may pass through them. The dependency
# graph takes any operation that it does not know for one of these without a word, so every name is checked.
TRANSPARENT = {
    *("Gelu", "Relu", "Silu", "LeakyRelu", "HardtanhBackward", "Tanh", "Sigmoid", "Mul", "Div", "Add", "Sub"),
    *("NativeDropout", "Dropout", "FusedDropout", "Transpose", "T", "Permute", "Clone", "Alias", "Detach"),
    *("Addmm", "Mm", "Bmm", "Baddbmm", "Softmax", "SafeSoftmax", "Where", "MaskedFill", "ToCopy"),
    *("ScaledDotProductAttention", "ScaledDotProductFlashAttentionForCpu"),
    *("ScaledDotProductEfficientAttention", "Contiguous"),
    *("Unsqueeze", "Squeeze", "View", "UnsafeView", "Reshape", "ReshapeAlias", "Expand"),
}
STRUCTURAL = (tp.ops.OPTYPE.RESHAPE, tp.ops.OPTYPE.EXPAND)


def trace(model: nn.Module) -> PruningGraph:
    """Find the groups of coupled units of a speech SSL model and the cost of any keep of them.

    The model is not run, copied or changed: the work happens on a meta-device twin. Groups are `conv.{i}` for
    every frontend layer, `layer.{i}.heads` and `layer.{i}.ffn`.

    Args:
        model: a wav2vec 2.0 or HuBERT model of transformers, bare or with a head; a pruned one as well.

    Raises:
        ModelError: no known family, or gates are attached.
        TraceError: the graph contradicts the family's roles, or meets what it does not know.
    """
    family = family_of(model)
    if any(hasattr(module, "prune_ssl_gate") for module in model.modules()):
        raise ModelError("gates are attached to this model; call gates.detach() before tracing it.")
    prefix, _ = backbone_of(model)
    return _Tracer(model, family, f"{prefix}." if prefix else "").run()


class _Tracer:
    """One run of `trace`: holds the twin and its dependency graph while groups and terms are built."""

    def __init__(self, model: nn.Module, family: Family, prefix: str) -> None:
        self.family, self.prefix = family, prefix
        self.parameters = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
        self.twin = make_twin(model)
        self.paths = {module: path for path, module in self.twin.named_modules()}
        self.not_pruned: dict[str, str] = {}
        self.convs = self._existing(family.conv)
        if not self.convs:
            raise ModelError(
                f"{type(model).__name__} has no {prefix}{family.conv.format(i=0)}: no conv frontend."
            )
        self.kernels = tuple(self._kernel(path) for path in self.convs)
        self.graph = self._build_graph()

    def run(self) -> PruningGraph:
        """Build groups and cost terms."""
        clocks = find_clocks(self.twin, self.kernels, self.convs)
        groups = {group.name: group for group in self._groups()}
        terms = tuple(self._terms(groups, clocks))
        return PruningGraph(
            family=self.family.name,
            backbone=self.prefix.rstrip("."),
            groups=groups,
            terms=terms,
            kernels=self.kernels,
            shapes=self.parameters,
            not_pruned=self.not_pruned,
        )

    # -- the twin's structure

    def _existing(self, pattern: str) -> list[str]:
        known = set(self.paths.values())
        paths: list[str] = []
        while (path := self.prefix + pattern.format(i=len(paths))) in known:
            paths.append(path)
        return paths

    def _kernel(self, path: str) -> tuple[int, int]:
        conv: nn.Conv1d = self.twin.get_submodule(path)  # type: ignore[assignment]
        return int(conv.kernel_size[0]), int(conv.stride[0])

    def _build_graph(self) -> Any:
        """Trace the backbone only.

        Heads read the residual stream, which stays whole (and x-vector's pooling cannot be traced), but for
        `last_conv_readers`, which the family names.
        """
        backbone = self.twin.get_submodule(self.prefix.rstrip("."))
        with warnings.catch_warnings(), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            # torch-pruning warns of every plain parameter, which we account for.
            warnings.simplefilter("ignore")
            graph = tp.DependencyGraph().build_dependency(backbone, probe_input(1.0), verbose=False)
        known = set(graph.module2node)
        for path, module in backbone.named_modules():
            if isinstance(module, LEAVES) and module not in known:
                self.not_pruned[self.prefix + path] = "not reached by the forward pass that was traced"
        return graph

    # -- groups

    def _groups(self) -> Iterator[Group]:
        for index, path in enumerate(self.convs):
            if index == len(self.convs) - 1 and not self._has_projection():
                self.not_pruned[path] = "no projection follows: its channels are the residual stream"
                continue
            yield self._conv_group(index, path)
        for index, path in enumerate(self._existing(self.family.attention)):
            if getattr(self.twin.get_submodule(path), "shares_map", False):
                self.not_pruned[path] = "its heads share their maps with another layer's"
            elif self.family.queries in dict(self.twin.get_submodule(path).named_children()):
                yield self._heads_group(index, path)
            else:
                self.not_pruned[path] = "no attention head is left"
        for index, path in enumerate(self._existing(self.family.ffn)):
            if self.family.ffn_in in dict(self.twin.get_submodule(path).named_children()):
                yield self._ffn_group(index, path)
            else:
                self.not_pruned[path] = "no FFN neuron is left"

    def _has_projection(self) -> bool:
        return f"{self.prefix}feature_projection.projection" in self.paths.values()

    def _conv_group(self, index: int, path: str) -> Group:
        slices = self._coupled(path, f"conv.{index}")
        if index == len(self.convs) - 1:
            readers = [name for name in self.family.last_conv_readers if name in self.paths.values()]
            slices += [self._slice(f"{name}.weight", 1, "consumer") for name in readers]
        conv: nn.Conv1d = self.twin.get_submodule(path)  # type: ignore[assignment]
        self._refuse_unless(
            bool([s for s in slices if s.role == "consumer"]), path, "nothing reads its channels"
        )
        return Group(f"conv.{index}", "conv", conv.out_channels, tuple(slices), minimum=1)

    def _heads_group(self, index: int, path: str) -> Group:
        name, family = f"layer.{index}.heads", self.family
        head_dim = int(self.twin.get_submodule(path).head_dim)  # type: ignore[arg-type]
        values: nn.Linear = self.twin.get_submodule(f"{path}.{family.values}")  # type: ignore[assignment]
        found = {part.module for part in self._coupled(f"{path}.{family.values}", name)}
        wanted = {f"{path}.{leaf}" for leaf in (family.queries, family.keys, family.values, family.output)}
        self._refuse_unless(
            found <= wanted and f"{path}.{family.output}" in found,
            path,
            f"the graph couples {sorted(found)}, wanted {sorted(wanted)}",
        )
        slices = []
        for leaf in (family.queries, family.keys, family.values):
            slices += self._producer(f"{path}.{leaf}", head_dim)
        slices.append(self._slice(f"{path}.{family.output}.weight", 1, "consumer", head_dim))
        return Group(name, "heads", values.out_features // head_dim, tuple(slices), block=path)

    def _ffn_group(self, index: int, path: str) -> Group:
        name, family = f"layer.{index}.ffn", self.family
        slices = self._coupled(f"{path}.{family.ffn_in}", name)
        found = {part.module for part in slices}
        wanted = {f"{path}.{family.ffn_in}", f"{path}.{family.ffn_out}"}
        self._refuse_unless(
            found == wanted, path, f"the graph couples {sorted(found)}, wanted {sorted(wanted)}"
        )
        size = self.twin.get_submodule(f"{path}.{family.ffn_in}").out_features
        return Group(name, "ffn", int(size), tuple(slices), block=path)  # type: ignore[arg-type]

    def _coupled(self, root_path: str, group: str) -> list[ParameterSlice]:
        """Ask the dependency graph which slices go with the output units of `root_path`."""
        root = self.twin.get_submodule(root_path)
        cut = tp.prune_conv_out_channels if isinstance(root, nn.Conv1d) else tp.prune_linear_out_channels
        size = root.get_parameter("weight").shape[0]
        slices: list[ParameterSlice] = []
        for dependency, units in self.graph.get_pruning_group(root, cut, list(range(size))):
            module = dependency.target.module
            path = self.paths.get(module)
            if path is None:
                self._check_transparent(dependency.target, group)
                continue
            self._refuse_unless(
                list(units) == list(range(size)), path, f"group {group} reaches it out of order"
            )
            if isinstance(module, NORMS):
                self._check_norm(module, path, size)
                slices += [self._slice(f"{path}.{leaf}", 0, "norm") for leaf, _ in module.named_parameters()]
            elif dependency.handler.__name__ == "prune_out_channels":
                slices += self._producer(path)
            else:
                self._refuse_unless(isinstance(module, nn.Linear | nn.Conv1d), path, "unknown reader")
                slices.append(self._slice(f"{path}.weight", 1, "consumer"))
        return slices

    def _check_transparent(self, node: Any, group: str) -> None:
        if node.type in STRUCTURAL:
            return
        found = re.search(r"\((\w+?)Backward\d*\)", node.name)
        operation = found.group(1) if found else node.name
        if node.type == tp.ops.OPTYPE.ELEMENTWISE and operation in TRANSPARENT:
            return
        raise TraceError(
            f"group {group} passes through the operation {operation!r}, which prune_ssl does not know to be "
            "channel-wise. The model's forward differs from the stock one; restore it or ask for support."
        )

    def _check_norm(self, module: nn.Module, path: str, size: int) -> None:
        if isinstance(module, nn.GroupNorm):
            self._refuse_unless(
                module.num_groups == size,
                path,
                f"{module.num_groups} groups over {size} channels: removing a channel changes its "
                "neighbours' statistics; wanted one group per channel",
            )

    def _refuse_unless(self, holds: bool, path: str, why: str) -> None:
        if not holds:
            raise TraceError(f"{path or 'the model'} cannot be pruned: {why}.")

    def _producer(self, path: str, width: int = 1) -> list[ParameterSlice]:
        module = self.twin.get_submodule(path)
        return [self._slice(f"{path}.{leaf}", 0, "producer", width) for leaf, _ in module.named_parameters()]

    def _slice(self, parameter: str, dim: int, role: Role, width: int = 1) -> ParameterSlice:
        size = self.parameters[parameter][dim]
        return ParameterSlice(parameter, dim, role, np.arange(size).reshape(-1, width))

    # -- cost terms

    def _terms(self, groups: dict[str, Group], clocks: dict[str, Clock]) -> Iterator[CostTerm]:
        coupled: dict[str, list[Group]] = {}
        for group in groups.values():
            for part in group.slices:
                coupled.setdefault(part.parameter, []).append(group)
        for name, shape in self.parameters.items():
            owners = coupled.get(name, [])
            count = prod(shape) // prod(group.size for group in owners)
            yield CostTerm(
                name, *self._place(name), count, 0, Clock("never"), tuple(group.name for group in owners)
            )
        for path, clock in clocks.items():
            weight: torch.Tensor = self.twin.get_submodule(path).weight  # type: ignore[assignment]
            owners = coupled.get(f"{path}.weight", [])
            count = weight.numel() // prod(group.size for group in owners)
            yield CostTerm(path, *self._place(path), 0, count, clock, tuple(group.name for group in owners))
        square = Clock("square", len(self.kernels) - 1)
        for path in self._existing(self.family.attention):
            attention: Any = self.twin.get_submodule(path)
            if isinstance(attention, SharedMapAttention):  # AV, and QK^T where the map is its own
                width = int(attention.v_proj.out_features) * (1 if attention.source else 2)
                yield CostTerm(f"{path}.map", *self._place(path), 0, width, square, ())
        for group in groups.values():
            if group.kind == "heads":  # QK^T and AV: 2 T^2 d_h per head
                width = group.slices[0].width
                clock = Clock("square", len(self.kernels) - 1)
                yield CostTerm(
                    f"{group.block}.map", *self._place(group.block), 0, 2 * width, clock, (group.name,)
                )

    def _place(self, path: str) -> tuple[str, str]:
        """Return (section, layer) of a module or parameter path."""
        if not path.startswith(self.prefix):
            return "head", "head"
        inner = path.removeprefix(self.prefix)
        section = next((name for start, name in self.family.sections if inner.startswith(start)), "head")
        layer = re.match(self.family.attention.partition("{i}")[0].replace(".", r"\.") + r"(\d+)\.", inner)
        conv = re.match(self.family.conv.partition("{i}")[0].replace(".", r"\.") + r"(\d+)\.", inner)
        if layer:
            return section, f"layer.{layer.group(1)}"
        return section, f"conv.{conv.group(1)}" if conv else section
