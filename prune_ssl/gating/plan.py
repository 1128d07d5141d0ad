"""Plan: the units that a cut keeps, and their scales."""

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prune_ssl.errors import KeepError
from prune_ssl.fields_in_help import with_fields
from prune_ssl.tracing import PruningGraph


@with_fields
@dataclass(frozen=True, repr=False)
class Plan:
    """The kept units of a cut, and the scale of each, which is folded into the weights that read it.

    Scales are in the order of the keep. A group without an entry in `keep` stays whole.
    """

    keep: dict[str, tuple[int, ...]]
    """The numbers of the units that stay, for each group."""
    scales: dict[str, tuple[float, ...]] = field(default_factory=dict)
    """The scales of these units, for each group that has scales."""
    family: str = field(default="", compare=False)
    """The family of the dense model, such as hubert. Empty: not known, as in plans of earlier versions."""
    sizes: dict[str, int] = field(default_factory=dict, compare=False)
    """The number of units of each group in the dense model, where it is known."""

    @classmethod
    def of(
        cls,
        graph: PruningGraph,
        keep: Mapping[str, Sequence[int]],
        scales: Mapping[str, Sequence[float]] | None = None,
    ) -> "Plan":
        """Return the plan of a cut of the model of a graph. The keep must fit the graph."""
        kept = {name: tuple(units) for name, units in keep.items()}
        factors = {name: tuple(values) for name, values in (scales or {}).items()}
        return cls(kept, factors, graph.family, {name: group.size for name, group in graph.groups.items()})

    def require_made_for(self, graph: PruningGraph) -> None:
        """Refuse a model that differs from the dense model that the plan was made for.

        Raises:
            KeepError: its family is another, or a group has another number of units.
        """
        if self.family and self.family != graph.family:
            raise KeepError(
                f"the plan was made for a model of the family {self.family}, and this one is of the family "
                f"{graph.family}. Give the dense model that was pruned."
            )
        for name, size in self.sizes.items():
            found = graph.groups[name].size if name in graph.groups else 0
            if found != size:
                raise KeepError(
                    f"{name}: the plan was made for a model with {size} units in this group, and this model "
                    f"has {found}. Give the dense model that was pruned."
                )

    def __repr__(self) -> str:
        """Return the number of kept units of each group, without the units themselves."""
        try:
            counted = ", ".join(f"{name}: {len(units)}" for name, units in self.keep.items())
        except (AttributeError, TypeError):  # not a keep: the verbs refuse it, and their errors show it
            return f"Plan({reprlib.repr(self.keep)})"
        return f"Plan({counted or 'everything stays'})"

    def then(self, second: "Plan") -> "Plan":
        """Return the plan of one cut that equals this cut and then another.

        Args:
            second: the plan of a cut of the smaller model, in which units are numbered from 0 again.

        Raises:
            KeepError: the second plan keeps a unit that this one does not leave.

        Example:
            >>> first = Plan({"layers.0.ffn": (1, 4, 7)})
            >>> first.then(Plan({"layers.0.ffn": (0, 2)})).keep
            {'layers.0.ffn': (1, 7)}
        """
        keep, scales = dict(self.keep), dict(self.scales)
        for name, units in second.keep.items():
            before = self.keep.get(name)
            if before is None:
                keep[name] = tuple(units)
            elif any(unit >= len(before) for unit in units):
                raise KeepError(
                    f"{name}: the second plan keeps unit {max(units)}, and the first one leaves "
                    f"{len(before)} units. The second plan is not one of the model that the first one leaves."
                )
            else:
                keep[name] = tuple(before[unit] for unit in units)
            if name in scales:
                scales[name] = tuple(scales[name][unit] for unit in units)
        for name, factors in second.scales.items():
            there = scales.get(name, (1.0,) * len(factors))
            scales[name] = tuple(one * other for one, other in zip(there, factors, strict=True))
        sizes = {name: size for name, size in second.sizes.items() if name not in self.keep} | self.sizes
        return Plan(keep, scales, self.family or second.family, sizes)
