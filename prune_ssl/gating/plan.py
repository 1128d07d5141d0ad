"""Plan: what a cut keeps, and how what stays is scaled."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Plan:
    """What to cut and what to fold: kept units, and the scale of each (in the order of the keep)."""

    keep: dict[str, tuple[int, ...]]
    scales: dict[str, tuple[float, ...]] = field(default_factory=dict)
