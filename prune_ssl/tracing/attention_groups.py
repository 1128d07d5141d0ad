"""Finds the groups of an attention: its heads, the dimensions inside them, and the whole block."""

from collections.abc import Collection, Iterator

from torch import nn

from prune_ssl.models import Family
from prune_ssl.models.layers import is_alive, stated_size, submodule_or_none
from prune_ssl.models.sharing import SharedMapAttention
from prune_ssl.tracing.coupling import (
    Couplings,
    members_under,
    producer,
    refuse_unless,
    require_coupled,
    slice_of,
)
from prune_ssl.tracing.graph import Group, ParameterSlice, Role

STOCK = ("transformers.", "prune_ssl.")
"""Starts of the modules whose attention classes the roles of a family describe."""


class AttentionGroups:
    """Turns the attention roles of a family into groups.

    `not_pruned` maps each part that stays whole to the reason.
    """

    def __init__(
        self,
        twin: nn.Module,
        family: Family,
        couplings: Couplings,
        stored: Collection[str],
        not_pruned: dict[str, str],
    ) -> None:
        self.twin, self.family, self.couplings, self.stored = twin, family, couplings, stored
        self.roles, self.not_pruned = family.attention, not_pruned

    def shares_map(self, layer: nn.Module) -> bool:
        """Return whether the attention of a layer gives its map to another layer, or takes one."""
        return isinstance(submodule_or_none(layer, self.roles.path), SharedMapAttention)

    def groups(self, index: int, layer_path: str, layer: nn.Module) -> Iterator[Group]:
        """Yield the heads, the head dimensions and the block of one layer's attention."""
        path = f"{layer_path}.{self.roles.path}"
        if not is_alive(layer, self.roles):
            self.not_pruned[path] = "no attention head is left"
            return
        if self.shares_map(layer):
            self.not_pruned[path] = "its heads share their maps with another layer's"
            return
        block = layer.get_submodule(self.roles.path)
        size = stated_size(block, self.roles.head_size)
        members = members_under(self.twin, path, self.family, but=self._post_norm_part(path))
        yield self._heads(f"layer.{index}.heads", path, size, members)
        yield from self._dimensions(f"layer.{index}.head_dim", path, block, size)
        outputs = (f"{path}.{self.roles.output}",)
        yield Group(f"layer.{index}.attention", "block", 1, (), block=path, members=members, outputs=outputs)

    def _heads(self, name: str, path: str, size: int, members: tuple[str, ...]) -> Group:
        roles = self.roles
        slices: list[ParameterSlice] = []
        for leaf in () if roles.fused else roles.projections:
            slices += producer(self.twin, f"{path}.{leaf}", size)
        for leaf in ("in_proj_weight", "in_proj_bias") if roles.fused else ():
            rows = slice_of(self.twin, f"{path}.{roles.fused}.{leaf}", 0, "producer").index
            by_head = rows.reshape(3, -1, size).swapaxes(0, 1).reshape(-1, 3 * size)
            slices.append(ParameterSlice(f"{path}.{roles.fused}.{leaf}", 0, "producer", by_head))
        slices.append(slice_of(self.twin, f"{path}.{roles.output}.weight", 1, "consumer", size))
        self._check_coupled(path, name, {part.module for part in slices})
        heads = slices[0].index.shape[0]
        for leaf, dim in roles.per_head:
            if f"{path}.{leaf}" in members:
                entries = slice_of(self.twin, f"{path}.{leaf}", dim, "producer").index.size
                slices.append(slice_of(self.twin, f"{path}.{leaf}", dim, "producer", entries // heads))
        sliced = {part.parameter for part in slices} | {f"{path}.{roles.output}.bias"}
        rest = tuple(member for member in members if member not in sliced)
        return Group(name, "heads", heads, tuple(slices), block=path, members=rest)

    def _dimensions(self, name: str, path: str, block: nn.Module, size: int) -> Iterator[Group]:
        """Yield the group of the dimensions inside the heads; each is cut out of every head at once."""
        roles, why = self.roles, ""
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
        # With one dimension torch computes no matrix product, and the count would differ from the prediction.
        least = min(2, size)
        yield Group(name, "head_dim", size, tuple(slices), minimum=least, block=path, size_scales=scales)

    def _tiled(self, name: str, dim: int, role: Role, size: int) -> ParameterSlice:
        """Return a slice whose unit is one dimension in the part of `size` entries of every head."""
        entries = slice_of(self.twin, name, dim, role).index
        return ParameterSlice(name, dim, role, entries.reshape(-1, size).T)

    def _post_norm_part(self, path: str) -> str:
        """Return the path of the norm that stays with the residual stream if the block goes."""
        norm = self.roles.post_norm
        return f"{path}.{norm}" if norm else ""

    def _check_coupled(self, path: str, name: str, wanted: set[str]) -> None:
        """Refuse an attention that couples other modules than the roles say.

        With relative positions, queries and keys are sliced and gathered, where the graph cannot follow. Of
        such attentions only the stock classes are known.
        """
        if not self.roles.positions:
            root = f"{path}.{self.roles.values}"
            coupled = self.couplings.coupled(root, name, attention=True)
            require_coupled(root, {part.module for part in coupled}, wanted, subset=True)
            return
        owner = type(self.twin.get_submodule(path)).__module__
        refuse_unless(owner.startswith(STOCK), path, f"its class is of {owner}, not the stock one")
