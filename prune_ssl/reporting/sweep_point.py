"""One model of a sweep: its quality, its costs, and its outcome on each clip."""

from dataclasses import dataclass, field

from prune_ssl.tasks.differences import AnyOutcomes

LOWER_IS_BETTER = frozenset({"cer", "eer", "loss", "min_dcf", "per", "wer"})


@dataclass(frozen=True)
class SweepPoint:
    """One model of a sweep."""

    budget: str
    method: str
    seed: int
    metric: str
    """The metric of `value`, `cut` and `dense`."""
    value: float
    """The metric after recovery."""
    cut: float | None
    """The metric right after the cut."""
    dense: float | None
    """The metric of the dense model."""
    macs: int
    macs_kept: float
    """The MACs as a fraction of the dense model's."""
    params: int
    params_kept: float
    """The parameters as a fraction of the dense model's."""
    latency_ms: float | None
    latency_kept: float | None
    """The latency as a fraction of the dense model's: the ratio of low quartiles, which are the least
    sensitive to other work of the machine."""
    folder: str
    """The folder of the model."""
    seconds: float | None = None
    """Audio length of the MACs."""
    latency_seconds: float | None = None
    """Audio length of the latency."""
    unsteady: str = ""
    """The reason why the latency must not be quoted, if the machine did other work meanwhile."""
    low: float | None = None
    """The lower end of the 95% interval of `value`."""
    high: float | None = None
    """The upper end of the 95% interval of `value`."""
    outcomes: AnyOutcomes | None = field(default=None, repr=False)
    """The outcomes of the finished model on each clip, if the report keeps them. They are not in the CSV."""

    @property
    def goodness(self) -> float:
        """The value, negated if lower is better."""
        return -self.value if self.metric.lower() in LOWER_IS_BETTER else self.value
