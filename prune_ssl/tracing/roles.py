"""Roles: the groups of a family's table, found on the twin and checked against the dependency graph."""

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from torch import nn

from prune_ssl.errors import TraceError
from prune_ssl.models import Family
from prune_ssl.models.empty import Nothing, RemovedLayer
from prune_ssl.models.family import FeedForwardRoles
from prune_ssl.models.layers import attention_size, is_alive, submodule_or_none
from prune_ssl.models.sharing import SharedMapAttention
from prune_ssl.tracing.coupling import Couplings, producer, refuse_unless, slice_of
from prune_ssl.tracing.graph import Group, ParameterSlice, Role
from prune_ssl.tracing.residual import Residual

STOCK = ("transformers.", "prune_ssl.")


class Roles:
    """Turns the family's roles into groups; what cannot be pruned is named in `not_pruned`."""

    def __init__(
        self,
        twin: nn.Module,
        family: Family,
        prefix: str,
        convs: list[str],
        couplings: Couplings,
        stored: Collection[str],
    ) -> None:
        self.twin, self.family, self.prefix, self.convs = twin, family, prefix, convs
        self.couplings, self.stored = couplings, stored
        self.not_pruned: dict[str, str] = {}

    def groups(self) -> Iterator[Group]:
        """Yield every group: frontend, units of each layer, blocks and layers, the residual stream."""
        for index, path in enumerate(self.convs):
            group = self._conv_group(index, path)
            if group is not None:
                yield group
        backbone = self.twin.get_submodule(self.prefix.rstrip("."))
        for index, layer in enumerate(self.family.layers(backbone)):
            path = self.prefix + self.family.layer_path(index)
            if isinstance(layer, RemovedLayer):
                self.not_pruned[path] = "the layer was removed"
                continue
            yield from self._attention_groups(index, path, layer)
            for roles in self.family.ffns:
                yield from self._ffn_groups(index, path, layer, roles)
            yield from self._convolution_groups(index, path, layer)
            if not self._shares_map(layer):
                yield Group(
                    f"layer.{index}", "layer", 1, (), block=path, members=self._parameters_under(path)
                )
        hidden = Residual(self.twin, self.family, self.prefix, self.stored)
        yield from hidden.groups()
        if hidden.why:
            self.not_pruned["hidden"] = hidden.why

    # -- frontend

    def _conv_group(self, index: int, path: str) -> Group | None:
        projection = self.prefix + self.family.projection
        last = index == len(self.convs) - 1
        if last and submodule_or_none(self.twin, projection) is None:
            self.not_pruned[path] = "no projection follows: its channels are the residual stream"
            return None
        slices = self.couplings.coupled(path, f"conv.{index}")
        if last:
            known = {name for name, _ in self.twin.named_modules()}
            readers = [name for name in self.family.last_conv_readers if name in known]
            slices += [slice_of(self.twin, f"{name}.weight", 1, "consumer") for name in readers]
        conv: nn.Conv1d = self.twin.get_submodule(path)  # type: ignore[assignment]
        refuse_unless(bool([s for s in slices if s.role == "consumer"]), path, "nothing reads its channels")
        return Group(
            f"conv.{index}", "conv", conv.out_channels, tuple(slices), minimum=1, norms=norms_of(slices)
        )

    # -- attention

    def _attention_groups(self, index: int, path: str, layer: nn.Module) -> Iterator[Group]:
        roles = self.family.attention
        if not is_alive(layer, roles):
            self.not_pruned[f"{path}.{roles.path}"] = "no attention head is left"
            return
        if self._shares_map(layer):
            self.not_pruned[f"{path}.{roles.path}"] = "its heads share their maps with another layer's"
            return
        path, block = f"{path}.{roles.path}", layer.get_submodule(roles.path)
        name, size = f"layer.{index}.heads", attention_size(block, roles.head_size)
        slices: list[ParameterSlice] = []
        for leaf in () if roles.fused else roles.projections:
            slices += producer(self.twin, f"{path}.{leaf}", size)
        for leaf in ("in_proj_weight", "in_proj_bias") if roles.fused else ():
            rows = slice_of(self.twin, f"{path}.{roles.fused}.{leaf}", 0, "producer").index
            by_head = rows.reshape(3, -1, size).swapaxes(0, 1).reshape(-1, 3 * size)
            slices.append(ParameterSlice(f"{path}.{roles.fused}.{leaf}", 0, "producer", by_head))
        slices.append(slice_of(self.twin, f"{path}.{roles.output}.weight", 1, "consumer", size))
        self._check_attention(path, name, {part.module for part in slices})
        heads = slices[0].index.shape[0]
        members = self._parameters_under(path, but=self._post_norm_part(path))
        for leaf, dim in roles.per_head:
            if f"{path}.{leaf}" in members:
                entries = slice_of(self.twin, f"{path}.{leaf}", dim, "producer").index.size
                slices.append(slice_of(self.twin, f"{path}.{leaf}", dim, "producer", entries // heads))
        sliced = {part.parameter for part in slices} | {f"{path}.{roles.output}.bias"}
        rest = tuple(member for member in members if member not in sliced)
        yield Group(name, "heads", heads, tuple(slices), block=path, members=rest)
        yield from self._dimension_groups(index, path, block, size)
        outputs = (f"{path}.{roles.output}",)
        yield Group(f"layer.{index}.attention", "block", 1, (), block=path, members=members, outputs=outputs)

    def _dimension_groups(self, index: int, path: str, block: nn.Module, size: int) -> Iterator[Group]:
        """Yield the dimensions inside the heads: of queries, keys, values and output alike, in every head."""
        roles, name, why = self.family.attention, f"layer.{index}.head_dim", ""
        if roles.fused:
            why = "queries, keys and values are one fused projection"
        elif roles.kind(block) == "rotary":
            why = "rotary attention has one number for the size of a head and of a rotary slice"
        if why:
            self.not_pruned[name] = self.not_pruned["head_dim"] = why
            return
        factors = roles.factors(block)
        leaves = [f"{each}.{leaf}" for each in roles.projections for leaf in ("weight", "bias")]
        slices = [
            self._tiled(
                f"{path}.{leaf}", dim, "factor" if leaf.rpartition(".")[0] in factors else "producer", size
            )
            for leaf, dim in dict.fromkeys([*((leaf, 0) for leaf in leaves), *roles.per_dimension])
            if f"{path}.{leaf}" in self.stored
        ]
        slices.append(self._tiled(f"{path}.{roles.output}.weight", 1, "consumer", size))
        scales = tuple(
            f"{path}.{each}" for each in roles.size_scales if submodule_or_none(block, each) is not None
        )
        # Of one dimension torch makes no matrix product, and what is counted would not be what is predicted.
        least = min(2, size)
        yield Group(name, "head_dim", size, tuple(slices), minimum=least, block=path, size_scales=scales)

    def _tiled(self, name: str, dim: int, role: Role, size: int) -> ParameterSlice:
        """Return a slice whose unit is one dimension in every head's part of `size` entries."""
        entries = slice_of(self.twin, name, dim, role).index
        return ParameterSlice(name, dim, role, entries.reshape(-1, size).T)

    def _shares_map(self, layer: nn.Module) -> bool:
        return isinstance(submodule_or_none(layer, self.family.attention.path), SharedMapAttention)

    def _post_norm_part(self, path: str) -> str:
        """Return the path of the norm that stays with the residual stream when the block goes."""
        norm = self.family.attention.post_norm
        return f"{path}.{norm}" if norm else ""

    # -- feed-forward and convolution

    def _ffn_groups(
        self, index: int, path: str, layer: nn.Module, roles: FeedForwardRoles
    ) -> Iterator[Group]:
        first, second = submodule_or_none(layer, roles.first), f"{path}.{roles.second}"
        if not isinstance(first, nn.Linear):
            gone = first is None or isinstance(first, Nothing)
            self.not_pruned[f"{path}.{roles.first}"] = (
                "no FFN neuron is left" if gone else f"it is a {type(first).__name__}, wanted a Linear"
            )
            return
        name = f"layer.{index}.{roles.group}"
        slices = self.couplings.coupled(f"{path}.{roles.first}", name)
        self._require(path, {part.module for part in slices}, {f"{path}.{roles.first}", second})
        yield Group(name, "ffn", first.out_features, tuple(slices), block=path)
        members = self._parameters_under(f"{path}.{roles.first}") + self._parameters_under(second)
        name = f"layer.{index}.{roles.block}"
        yield Group(name, "block", 1, (), block=path, members=members, outputs=(second,))

    def _convolution_groups(self, index: int, path: str, layer: nn.Module) -> Iterator[Group]:
        roles = self.family.convolution
        if roles is None:
            return
        path = f"{path}.{roles.path}"
        first: Any = submodule_or_none(self.twin, f"{path}.{roles.first}")
        if first is None:
            self.not_pruned[path] = "no channel of the convolution module is left"
            return
        channels = first.out_channels // 2
        pairs = np.stack([np.arange(channels), np.arange(channels) + channels], axis=1)  # GLU: value, gate
        slices = [
            ParameterSlice(f"{path}.{roles.first}.{leaf}", 0, "producer", pairs)
            for leaf, _ in first.named_parameters()
        ]
        slices += producer(self.twin, f"{path}.{roles.depthwise}")
        norm = self.twin.get_submodule(f"{path}.{roles.norm}")
        held = [leaf for leaf, value in norm.state_dict().items() if value.dim() == 1]
        slices += [slice_of(self.twin, f"{path}.{roles.norm}.{leaf}", 0, "norm") for leaf in held]
        slices.append(slice_of(self.twin, f"{path}.{roles.second}.weight", 1, "consumer"))
        members = self._parameters_under(path)
        sliced = {part.parameter for part in slices}
        rest = tuple(member for member in members if member not in sliced)
        yield Group(
            f"layer.{index}.conv",
            "conv",
            channels,
            tuple(slices),
            block=path,
            members=rest,
            norms=norms_of(slices),
        )
        outputs = (f"{path}.{roles.second}",)
        yield Group(
            f"layer.{index}.convolution", "block", 1, (), block=path, members=members, outputs=outputs
        )

    # -- checks

    def _parameters_under(self, path: str, but: str = "") -> tuple[str, ...]:
        module = self.twin.get_submodule(path)
        names = (f"{path}.{name}" for name, _ in module.named_parameters())
        # A table of positions serves all layers, whatever happens to the first.
        shared = tuple(f".{each}." for each in self.family.attention.shared)
        return tuple(
            name
            for name in names
            if not any(each in name for each in shared) and not (but and name.startswith(but))
        )

    def _check_attention(self, path: str, name: str, wanted: set[str]) -> None:
        """Refuse an attention that couples other modules than the roles say.

        Relative positions slice and gather on the way of queries and keys, where the graph cannot follow: of
        those, only the stock class is known.
        """
        if not self.family.attention.positions:
            root = f"{path}.{self.family.attention.values}"
            self._require(
                root,
                {part.module for part in self.couplings.coupled(root, name, attention=True)},
                wanted,
                True,
            )
            return
        owner = type(self.twin.get_submodule(path)).__module__
        refuse_unless(owner.startswith(STOCK), path, f"its class is of {owner}, not the stock one")

    def _require(self, path: str, found: set[str], wanted: set[str], subset: bool = False) -> None:
        if not (found <= wanted if subset else found == wanted):
            raise TraceError(
                f"{path} cannot be pruned: the graph couples {sorted(found)}, wanted {sorted(wanted)}."
            )


def norms_of(slices: list[ParameterSlice]) -> tuple[str, ...]:
    """Return the paths of the norms among the slices."""
    return tuple(dict.fromkeys(part.module for part in slices if part.role == "norm"))
