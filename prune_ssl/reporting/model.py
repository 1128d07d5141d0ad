"""The report as plain data for JSON: measurements, budget and results, without any layout."""

from datetime import datetime, timezone

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from prune_ssl.measuring import Latency, Measurement, SpeedUp

DIVERGENCE_LIMIT = 1.5
"""The report warns if the ratio of MACs and the speed-up differ by more than this factor."""

FULL_ITERATIONS = 50
"""The number of timed calls that the convention of measurement demands. With fewer calls the report warns."""


FINE_TUNED = "fine-tuned"
"""The word for a model that was only trained. It is reported alone."""


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SectionFacts(_Facts):
    """Cost of one section of a model."""

    params: int
    macs: int


class UnitFacts(_Facts):
    """The kind and the number of units of one group."""

    kind: str
    size: int


class ModelFacts(_Facts):
    """One model of the report, dense or pruned."""

    architecture: str
    """The name of the model's class."""
    measurement: Measurement
    sections: dict[str, SectionFacts]
    """The parameters and MACs of each section, at the report's reference length."""
    groups: dict[str, UnitFacts]
    """The kind and the number of units of each group."""


class StepRecord(BaseModel):
    """One logged step of a training phase. Fractions are of the dense model's cost."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    step: int
    expected: float | None = None
    target: float | None = None
    open: float | None = None
    """The cost of the units that are open in evaluation."""
    phase: str = ""
    """dense, control, pruning, recovery or distillation."""
    loss: float | None = None
    """The mean training loss since the logged step before, with all its terms."""
    learning_rate: float | None = None
    """The learning rate of the weights."""
    keeps: dict[str, float] = Field(default_factory=dict)
    """The expected fraction kept of each section, or of each kind of unit."""
    warnings: list[str] = Field(default_factory=list)
    """The reasons to doubt that the gates have learned enough at this step."""


class BudgetFacts(_Facts):
    """One term of a budget, and the amount that the pruned model reached."""

    term: str
    """The term, for example `macs=50%`."""
    achieved: float
    """The amount of the pruned model: MACs, parameters, bytes or milliseconds."""
    fraction: float | None
    """`achieved` as a fraction of the dense model's amount. None if the dense model was not given."""


class Comparison(_Facts):
    """The ratio of MACs and the measured speed-up at one audio length."""

    speed_up: SpeedUp
    macs_ratio: float
    """Dense MACs over pruned MACs at the same audio length."""

    @property
    def diverges(self) -> bool:
        """Whether a claimed speed-up differs from the ratio of MACs by more than DIVERGENCE_LIMIT."""
        if self.speed_up.within_noise:
            return False
        factor = self.macs_ratio / self.speed_up.ratio
        return max(factor, 1.0 / factor) > DIVERGENCE_LIMIT


class DifferenceFacts(_Facts):
    """The paired difference of the main metric between two stages, which were judged on the same clips."""

    metric: str
    stage: str
    """The later stage, such as `recovered`."""
    against: str
    """The earlier stage, such as `dense`. The difference is the later minus the earlier one."""
    difference: float
    low: float
    """The lower end of the 95% interval."""
    high: float
    """The upper end of the 95% interval."""
    standard_error: float
    """The standard error over the speakers or clips that were drawn."""
    drawn: str
    """How the interval was drawn, such as `by speaker, 3 speakers`."""


class ExportFacts(_Facts):
    """One export of the model that was judged on a corpus: a row of the section Exports."""

    target: str
    """The target, such as `onnx-int8`. A report has one row for each."""
    kind: str = ""
    """The kind of the file among those of its target, such as static integers. Empty: there is one kind."""
    size_bytes: int
    corpus: str
    """The name of the corpus."""
    split: str
    clips: int
    metric: str
    """The main metric of the task."""
    value: float
    """The metric of the file in its own runtime."""
    low: float | None = None
    """The lower end of the metric's 95% interval. None: the task gives none."""
    high: float | None = None
    pytorch: float
    """The metric of the model in PyTorch on the same clips."""
    difference: float
    """The file's metric minus PyTorch's."""
    difference_low: float | None = None
    """The lower end of the paired 95% interval."""
    difference_high: float | None = None
    drawn: str = ""
    """How the paired interval was drawn, such as `by clip`."""
    latency: Latency
    """The latency of the file."""
    pytorch_latency: Latency
    """The latency of the model in PyTorch (eager, float32), timed in turns with the file."""


class ReportData(_Facts):
    """All data of a report, before any layout."""

    title: str
    created: str = Field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    reference_seconds: float
    """The audio length of all costs that are shown for one length only: sections, budget, plots."""
    model: ModelFacts
    baseline: ModelFacts | None = None
    comparisons: list[Comparison] = Field(default_factory=list)
    budget: list[BudgetFacts] = Field(default_factory=list)
    results: dict[str, dict[str, float]] = Field(default_factory=dict)
    """The metrics of each stage: `dense`, `control`, `cut`, `recovered`; of a student `student`, `distilled`;
    of a model that was only trained `fine_tuned`."""
    outcomes: dict[str, dict[str, str]] = Field(default_factory=dict)
    """The outcomes of each stage on each clip, if the task keeps them. `prune_ssl.tasks.outcomes_from_data`
    reads them."""
    differences: list[DifferenceFacts] = Field(default_factory=list)
    """The paired differences of the main metric between the first stage and each later one, and between the
    control and each later one."""
    exports: list[ExportFacts] = Field(default_factory=list)
    """The exports of the model that were judged on a corpus."""
    notes: list[str] = Field(default_factory=list)
    """Facts that a reader must know before comparing the two models."""
    made: str = "pruned"
    """The word for the model: pruned, student or fine-tuned."""
    history: list[StepRecord] = Field(default_factory=list)
    """The logged steps of all training phases, in order."""
    settings: dict[str, str] = Field(default_factory=dict)
    """How the model was made, in a few words each."""
    recipe: dict[str, JsonValue] = Field(default_factory=dict)
    """The recipe of the run that made the model, as plain data. Empty: no run of a recipe made it."""

    @property
    def phases(self) -> dict[str, list[StepRecord]]:
        """The logged steps that have a loss, by their phase."""
        found: dict[str, list[StepRecord]] = {}
        for record in self.history:
            if record.loss is not None:
                found.setdefault(record.phase, []).append(record)
        return found

    @property
    def warnings(self) -> list[str]:
        """Facts that a reader must know before quoting a number of this report."""
        found = list(self.notes)
        diverging = [comparison for comparison in self.comparisons if comparison.diverges]
        if diverging:
            cases = "; ".join(
                f"for {_where(each)} MACs fell {each.macs_ratio:.2f}x and time {each.speed_up}"
                for each in diverging
            )
            found.append(
                f"MACs do not predict the speed on this machine, so quote the measured speed: {cases}."
            )
        noisy = [each for each in self.comparisons if each.speed_up.within_noise]
        disturbed = [each for each in noisy if each.speed_up.unsteady]
        if disturbed:
            found.append(
                "No speed-up is claimed, because the machine did other work meanwhile: "
                f"{_reasons(disturbed)}. Measure again on a quiet machine."
            )
        noisy = [each for each in noisy if not each.speed_up.unsteady]
        if noisy:
            found.append(
                f"No speed-up is claimed for {', '.join(map(_where, noisy))}: the noise is as large "
                "as the gain. Measure again on a quiet machine or with more iterations."
            )
        unsteady = [] if self.comparisons else [each for each in self._latencies() if each.unsteady]
        if unsteady:
            cases = "; ".join(f"{_length_and_threads(each)}: {each.unsteady}" for each in unsteady)
            found.append(
                f"Do not quote these latencies, because the machine did other work meanwhile: {cases}."
            )
        short = [latency for latency in self._latencies() if latency.n < FULL_ITERATIONS]
        if short:
            fewest = min(latency.n for latency in short)
            found.append(
                f"{len(short)} latencies rest on fewer than {FULL_ITERATIONS} timed calls (the fewest: "
                f"{fewest}), because fewer were asked for or the time limit was reached first."
            )
        return found

    def _latencies(self) -> list[Latency]:
        baseline = [] if self.baseline is None else self.baseline.measurement.latency
        return [*self.model.measurement.latency, *baseline]


def _where(comparison: Comparison) -> str:
    return _length_and_threads(comparison.speed_up)


def _length_and_threads(timed: SpeedUp | Latency) -> str:
    return f"{timed.seconds:g} s of audio on {plural_threads(timed.threads)}"


def _reasons(comparisons: list[Comparison]) -> str:
    return "; ".join(f"{_where(each)}: {each.speed_up.reason}" for each in comparisons)


def plural_threads(count: int) -> str:
    """Return `1 thread`, `2 threads`."""
    return f"{count} thread{'' if count == 1 else 's'}"
