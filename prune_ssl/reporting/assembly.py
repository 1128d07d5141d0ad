"""Owns making a report: measures the models, puts the facts together, saves them in a suffix's layout."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table as RichTable
from rich.text import Text
from torch import nn

from prune_ssl.errors import ArtifactError
from prune_ssl.measuring import Measurement, Timing, measure_side_by_side, speed_up
from prune_ssl.models.finite import require_finite
from prune_ssl.reporting import content, plots, render
from prune_ssl.reporting.comparable import what_differs
from prune_ssl.reporting.facts import RunFacts
from prune_ssl.reporting.formatting import is_task_metric, metric_name
from prune_ssl.reporting.model import (
    BudgetFacts,
    Comparison,
    ModelFacts,
    ReportData,
    SectionFacts,
    StepRecord,
    UnitFacts,
)
from prune_ssl.selection import Budget, Constraint, parse_budget, split_budget
from prune_ssl.tracing import PruningGraph, Source, Traced
from prune_ssl.tracing.cost import SECTIONS
from prune_ssl.writing import write_text


@dataclass(frozen=True)
class Report:
    """A report that can be saved, printed and read back."""

    data: ReportData

    def save(self, path: str | Path) -> Path:
        """Write the report as `.json`, `.md` or `.html`, as the suffix says; an existing file is replaced.

        Raises:
            ArtifactError: any other suffix, or the file cannot be written.
        """
        target = Path(path)
        writer = _WRITERS.get(target.suffix.lower())
        if writer is None:
            raise ArtifactError(
                f"report: can't write {target}: its suffix is {target.suffix!r}; "
                f"wanted one of {', '.join(_WRITERS)}"
            )
        text = writer(self.data)
        return write_text(target, text)

    @classmethod
    def load(cls, path: str | Path) -> "Report":
        """Read a report that was saved as JSON.

        Raises:
            ArtifactError: the file is missing or isn't a report.
        """
        try:
            return cls(ReportData.model_validate_json(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ArtifactError(
                f"report: can't read {path} as a report: {error}; wanted a .json file that Report.save wrote"
            ) from error

    def table(self) -> content.Table:
        """Return the few numbers to quote, as text: columns (dense, pruned, kept or gained) and rows."""
        return content.summary(self.data)

    def summary_table(self) -> RichTable:
        """Return the same as a table for the terminal."""
        rows = self.table()
        shown = RichTable(title=self.data.title, title_justify="left")
        for index, column in enumerate(rows.columns):
            shown.add_column(column, justify="left" if index == 0 else "right")
        for row in rows.rows:
            shown.add_row(*row)
        if self.data.warnings:
            shown.caption = Text("\n".join(f"Warning: {warning}" for warning in self.data.warnings))
            shown.caption_justify = "left"
        return shown

    def plot(self, name: str) -> str:
        """Return one plot (`sections`, `units`, `budget`) as the text of an SVG file, black on white."""
        return plots.draw(self.data, name, standalone=True)


NOT_FINITE = "Nothing that it computes means anything: train or load it anew."

_WRITERS: dict[str, Callable[[ReportData], str]] = {
    ".json": lambda data: data.model_dump_json(indent=2) + "\n",
    ".md": render.markdown,
    ".html": render.html,
}


def report(
    model: Source,
    baseline: Source | PruningGraph | None = None,
    *,
    results: Mapping[str, Mapping[str, float]] | None = None,
    timing: Timing | None = None,
    with_latency: bool = True,
    facts: RunFacts | None = None,
) -> Report:
    """Measure a model beside the dense one that it came from and report what it costs; both stay unchanged.

    Args:
        model: the pruned model (or any other, to report it alone), its folder or hub name, or a `Traced`.
        baseline: the dense model, likewise, timed in turns with `model`; or its graph where it is gone.
        results: stage (`dense`, `cut`, `recovered`) -> metric -> value.
        timing: audio lengths, thread counts and the number of calls; None: the usual ones.
        with_latency: False runs no forward pass.
        facts: what the report cannot measure: title, budget, history, settings, where the model is saved.

    Raises:
        ModelError: `trace` does not know a model, its forward pass fails, a number of it is not finite, or
            the two have heads of different tasks.
        BudgetError: the budget cannot be read.
        ArtifactError: the folder of `facts` holds no safetensors file.
    """
    timing, facts, small = Timing.of(timing), facts or RunFacts(), Traced.of(model, "report")
    dense_graph = baseline if isinstance(baseline, PruningGraph) else None
    dense = None
    if baseline is not None and not isinstance(baseline, PruningGraph):
        dense = Traced.of(baseline, "report: baseline")
    notes = [] if dense is None else what_differs(small, dense)
    models = {"pruned": small} if dense is None else {"dense": dense, "pruned": small}
    for name, each in models.items():
        require_finite(each.model, f"report: the {name} model", NOT_FINITE)
    seconds = _reference_seconds(facts, timing)
    measured = measure_side_by_side(
        models,
        timing,
        with_latency=with_latency,
        folders={} if facts.folder is None else {"pruned": facts.folder},
        macs_seconds=[seconds],
    )
    found = {
        name: _model_facts(type(each.model), each.graph, measured[name], seconds)
        for name, each in models.items()
    }
    if dense_graph is not None:
        counted = _counted(dense_graph, measured["pruned"].macs)
        found["dense"] = _model_facts(type(small.model), dense_graph, counted, seconds)
    return Report(_data(found, facts, results or {}, notes, seconds))


def _reference_seconds(facts: RunFacts, timing: Timing) -> float:
    if facts.reference_seconds is not None:
        return float(facts.reference_seconds)
    return 10.0 if 10.0 in timing.lengths else max(timing.lengths)


def _data(
    found: Mapping[str, ModelFacts],
    facts: RunFacts,
    results: Mapping[str, Mapping[str, object]],
    notes: list[str],
    seconds: float,
) -> ReportData:
    """Put together what was measured and what the caller told."""
    small, dense = found["pruned"], found.get("dense")
    return ReportData(
        title=facts.title,
        reference_seconds=seconds,
        model=small,
        baseline=dense,
        comparisons=[] if dense is None else _comparisons(dense, small),
        budget=_budget_terms(facts.budget, dense, small, seconds),
        results={stage: _task_metrics(stage, values) for stage, values in results.items()},
        history=[StepRecord.model_validate(dict(record)) for record in facts.history],
        notes=notes,
        made=facts.made,
        settings={name: str(value) for name, value in facts.settings.items()},
    )


def _model_facts(
    kind: type[nn.Module], graph: PruningGraph, measured: Measurement, seconds: float
) -> ModelFacts:
    cost = graph.cost(seconds=seconds)
    return ModelFacts(
        architecture=kind.__name__,
        measurement=measured,
        sections={
            name: SectionFacts(params=cost.by_section[name].params, macs=cost.by_section[name].macs)
            for name in sorted(cost.by_section, key=SECTIONS.index)
        },
        groups={name: UnitFacts(kind=group.kind, size=group.size) for name, group in graph.groups.items()},
    )


def _counted(graph: PruningGraph, lengths: Iterable[float]) -> Measurement:
    """Return what a graph tells of a model that isn't there any more."""
    costs = {length: graph.cost(seconds=length) for length in lengths}
    return Measurement(
        next(iter(costs.values())).params, {length: cost.macs for length, cost in costs.items()}
    )


def _comparisons(dense: ModelFacts, small: ModelFacts) -> list[Comparison]:
    found = []
    for latency in small.measurement.latency:
        reference = dense.measurement.latency_at(latency.seconds, latency.threads)
        if reference is not None:
            ratio = dense.measurement.macs[latency.seconds] / small.measurement.macs[latency.seconds]
            found.append(Comparison(speed_up=speed_up(reference, latency), macs_ratio=ratio))
    return found


def _budget_terms(
    budget: str | Budget | None, dense: ModelFacts | None, small: ModelFacts, seconds: float
) -> list[BudgetFacts]:
    """Return each term of a budget (`macs=3G,frontend.macs=40%`) with what the pruned model reached."""
    if isinstance(budget, str):
        asked = {term: parse_budget(term)[0] for term in split_budget(budget)}
    else:
        asked = {str(constraint): constraint for constraint in budget or ()}
    terms = []
    for term, constraint in asked.items():
        achieved = _amount(constraint, small, seconds)
        if achieved is not None:
            whole = None if dense is None else _amount(constraint, dense, seconds)
            fraction = achieved / whole if whole else None
            terms.append(BudgetFacts(term=term, achieved=achieved, fraction=fraction))
    return terms


def _amount(constraint: Constraint, facts: ModelFacts, seconds: float) -> float | None:
    """Return what a model has of a constraint's quantity (bytes, milliseconds), None if not measured."""
    measured, at = facts.measurement, constraint.at
    if constraint.metric == "memory":
        return measured.size_bytes
    if constraint.metric == "latency":
        latency = measured.latency_at(at.seconds or seconds, at.threads)
        return None if latency is None else latency.median_ms
    if constraint.section is None:
        return measured.macs[seconds] if constraint.metric == "macs" else measured.params
    found = facts.sections.get(constraint.section)
    if found is None:
        return None
    return found.macs if constraint.metric == "macs" else found.params


def _task_metrics(stage: str, values: Mapping[str, object]) -> dict[str, float]:
    """Return a stage's metrics under plain names, without what a trainer adds (runtime, epoch)."""
    plain = {metric_name(name.removeprefix(f"{stage}_")): value for name, value in values.items()}
    return {
        name: float(value)
        for name, value in plain.items()
        if is_task_metric(name) and isinstance(value, int | float) and not isinstance(value, bool)
    }
