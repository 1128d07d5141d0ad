"""Plan: the units that a cut keeps, and their scales."""

import reprlib
from dataclasses import dataclass, field

from prune_ssl.errors import KeepError
from prune_ssl.fields_in_help import with_fields


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
        return Plan(keep, scales)
