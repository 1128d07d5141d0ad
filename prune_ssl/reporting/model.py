"""Owns the report as plain data that JSON holds: what was measured, asked and reached; knows no layout."""

from datetime import datetime, timezone

from pydantic import BaseModel, ConfigDict, Field

from prune_ssl.measuring import Latency, Measurement, SpeedUp

DIVERGENCE_LIMIT = 1.5
"""MACs saved over speed gained (or the inverse) above which the report warns."""

FULL_ITERATIONS = 50
"""Timed calls that the measurement convention asks for; fewer are reported, with a warning."""


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SectionFacts(_Facts):
    """Cost of one section of a model."""

    params: int
    macs: int


class UnitFacts(_Facts):
    """How many units one group has."""

    kind: str
    size: int


class ModelFacts(_Facts):
    """One model of the report, dense or pruned."""

    architecture: str
    """Class name."""
    measurement: Measurement
    sections: dict[str, SectionFacts]
    """Section -> its parameters and MACs at the report's reference length."""
    groups: dict[str, UnitFacts]
    """Group name -> its kind and number of units."""


class StepRecord(BaseModel):
    """One logged step of gate training. Fractions are of the dense model's cost."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    step: int
    expected: float | None = None
    target: float | None = None
    phase: str = ""
    keeps: dict[str, float] = Field(default_factory=dict)
    """Section, or kind of unit, -> expected fraction kept."""
    warnings: list[str] = Field(default_factory=list)
    """Why it is doubtful that the gates have learned enough by then."""


class BudgetFacts(_Facts):
    """One term of a budget, asked and reached."""

    term: str
    """What was asked to be kept, for example `macs=50%`."""
    achieved: float
    """MACs or parameters of the pruned model."""
    fraction: float | None
    """`achieved` as a fraction of the dense model's; None where the dense model was not given."""


class Comparison(_Facts):
    """MACs saved and speed gained, side by side."""

    speed_up: SpeedUp
    macs_ratio: float
    """Dense MACs over pruned MACs at the same audio length."""

    @property
    def diverges(self) -> bool:
        """Whether a speed-up that is claimed differs from the MACs ratio by more than DIVERGENCE_LIMIT."""
        if self.speed_up.within_noise:
            return False
        factor = self.macs_ratio / self.speed_up.ratio
        return max(factor, 1.0 / factor) > DIVERGENCE_LIMIT


class ReportData(_Facts):
    """Everything that a report says, before any layout."""

    title: str
    created: str = Field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    reference_seconds: float
    """Audio length for costs that are given at one length only: sections, budget, plots."""
    model: ModelFacts
    baseline: ModelFacts | None = None
    comparisons: list[Comparison] = Field(default_factory=list)
    budget: list[BudgetFacts] = Field(default_factory=list)
    results: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Stage (`dense`, `cut`, `recovered`; of a student `student`, `distilled`) -> metric -> value."""
    made: str = "pruned"
    """What the model beside the dense one is called."""
    history: list[StepRecord] = Field(default_factory=list)
    settings: dict[str, str] = Field(default_factory=dict)
    """How the model was made: recipe entries, seed, command."""

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before quoting a number of this report."""
        found = []
        diverging = [comparison for comparison in self.comparisons if comparison.diverges]
        if diverging:
            cases = "; ".join(
                f"for {_where(each)} MACs fell {each.macs_ratio:.2f}x and time {each.speed_up}"
                for each in diverging
            )
            found.append(f"MACs do not tell the speed on this machine, quote the measured one: {cases}.")
        noisy = [comparison for comparison in self.comparisons if comparison.speed_up.within_noise]
        if noisy:
            found.append(
                f"No speed-up is claimed for {', '.join(map(_where, noisy))}: the noise is as large "
                "as the gain. Measure again on a quiet machine or with more iterations."
            )
        short = [latency for latency in self._latencies() if latency.n < FULL_ITERATIONS]
        if short:
            fewest = min(latency.n for latency in short)
            found.append(
                f"{len(short)} latencies rest on fewer than {FULL_ITERATIONS} timed calls (the fewest: "
                f"{fewest}), because a smaller number was asked for or the time limit came first."
            )
        return found

    def _latencies(self) -> list[Latency]:
        baseline = [] if self.baseline is None else self.baseline.measurement.latency
        return [*self.model.measurement.latency, *baseline]


def _where(comparison: Comparison) -> str:
    speed = comparison.speed_up
    return f"{speed.seconds:g} s of audio on {plural_threads(speed.threads)}"


def plural_threads(count: int) -> str:
    """Return `1 thread`, `2 threads`."""
    return f"{count} thread{'' if count == 1 else 's'}"
