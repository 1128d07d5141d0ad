"""Plan: the units that a cut keeps, and their scales."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Plan:
    """The kept units of a cut, and the scale of each, which is folded into the weights that read it.

    Scales are in the order of the keep. A group without an entry in `keep` stays whole.
    """

    keep: dict[str, tuple[int, ...]]
    scales: dict[str, tuple[float, ...]] = field(default_factory=dict)
