"""Roles: turns the table of a family into groups, which the dependency graph of the twin confirms."""

from collections.abc import Collection, Iterator

import numpy as np
from torch import nn

from prune_ssl.models import Family
from prune_ssl.models.empty import Nothing, RemovedLayer
from prune_ssl.models.family import FeedForwardRoles
from prune_ssl.models.layers import submodule_or_none
from prune_ssl.tracing.attention_groups import AttentionGroups
from prune_ssl.tracing.coupling import (
    Couplings,
    members_under,
    producer,
    refuse_unless,
    require_coupled,
    slice_of,
)
from prune_ssl.tracing.graph import Group, ParameterSlice
from prune_ssl.tracing.residual import Residual


class Roles:
    """Turns the roles of a family into groups.

    `not_pruned` maps each part that stays whole to the reason.
    """

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
        self.attention = AttentionGroups(twin, family, couplings, stored, self.not_pruned)

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
            yield from self.attention.groups(index, path, layer)
            for roles in self.family.ffns:
                yield from self._ffn_groups(index, path, layer, roles)
            yield from self._convolution_groups(index, path, layer)
            if not self.attention.shares_map(layer):
                yield Group(f"layer.{index}", "layer", 1, (), block=path, members=self._members(path))
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
        refuse_unless(any(part.role == "consumer" for part in slices), path, "nothing reads its channels")
        channels = len(self.twin.get_parameter(f"{path}.weight"))
        return Group(f"conv.{index}", "conv", channels, tuple(slices), minimum=1, norms=norms_of(slices))

    def _members(self, path: str) -> tuple[str, ...]:
        return members_under(self.twin, path, self.family)

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
        require_coupled(path, {part.module for part in slices}, {f"{path}.{roles.first}", second})
        yield Group(name, "ffn", first.out_features, tuple(slices), block=path)
        members = self._members(f"{path}.{roles.first}") + self._members(second)
        name = f"layer.{index}.{roles.block}"
        yield Group(name, "block", 1, (), block=path, members=members, outputs=(second,))

    def _convolution_groups(self, index: int, path: str, layer: nn.Module) -> Iterator[Group]:
        roles = self.family.convolution
        if roles is None:
            return
        path = f"{path}.{roles.path}"
        first = submodule_or_none(self.twin, f"{path}.{roles.first}")
        if first is None:
            self.not_pruned[path] = "no channel of the convolution module is left"
            return
        channels = len(first.get_parameter("weight")) // 2
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
        members = self._members(path)
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


def norms_of(slices: list[ParameterSlice]) -> tuple[str, ...]:
    """Return the paths of the norms among the slices."""
    return tuple(dict.fromkeys(part.module for part in slices if part.role == "norm"))
