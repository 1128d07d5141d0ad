"""Owns making a report: measures the models, puts the facts together, saves them in a suffix's layout."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table as RichTable
from torch import nn

from prune_ssl.errors import ArtifactError
from prune_ssl.measuring import Measurement, measure_side_by_side, speed_up
from prune_ssl.models.finite import require_finite
from prune_ssl.reporting import content, plots, render
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
from prune_ssl.selection import parse_budget, split_budget
from prune_ssl.tracing import PruningGraph, trace
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
        return shown

    def plot(self, name: str) -> str:
        """Return one plot (`sections`, `units`, `budget`) as the text of an SVG file, black on white."""
        return plots.draw(self.data, name, standalone=True)


_WRITERS: dict[str, Callable[[ReportData], str]] = {
    ".json": lambda data: data.model_dump_json(indent=2) + "\n",
    ".md": render.markdown,
    ".html": render.html,
}


def report(
    model: nn.Module,
    baseline: nn.Module | None = None,
    *,
    title: str = "Pruning report",
    budget: str | None = None,
    history: Iterable[Mapping[str, Any]] = (),
    results: Mapping[str, Mapping[str, float]] | None = None,
    settings: Mapping[str, object] | None = None,
    made: str = "pruned",
    dense_graph: PruningGraph | None = None,
    folder: str | Path | None = None,
    reference_seconds: float = 10.0,
    seconds: Sequence[float] = (1.0, 5.0, 10.0),
    threads: int | Sequence[int] | None = None,
    with_latency: bool = True,
    min_iterations: int = 50,
    min_seconds: float = 3.0,
    max_seconds: float | None = 60.0,
) -> Report:
    """Measure a model beside the dense one that it came from and report what it costs; both stay unchanged.

    Args:
        model: the pruned model (or any other, to report it alone).
        baseline: the dense model; timed in turns with `model`.
        title: heading.
        budget: what was asked to be kept, such as `macs=50%`.
        history: logged steps of gate training: step, expected, target (fractions of the dense cost), phase,
            keeps by section.
        results: stage (`dense`, `cut`, `recovered`) -> metric -> value.
        settings: how the model was made, shown as given.
        made: what `model` is called beside the dense one.
        dense_graph: trace of the dense model, for its cost and group sizes where the model itself is gone;
            not used with `baseline`.
        folder: where `model` was saved, to read its size on disk there.
        reference_seconds: audio length of costs that are shown for one length: sections, budget.
        seconds: audio lengths for MACs and latency; `reference_seconds` is added to the MACs.
        threads: thread count or counts for latency; None means 1 and torch's present setting.
        with_latency: False runs no forward pass.
        min_iterations: timed calls of each model for each length and thread count.
        min_seconds: least time spent in them.
        max_seconds: they stop here even when `min_iterations` was not reached; None: never.

    Raises:
        ModelError: `trace` does not know a model, its forward pass fails, or a number of it is not finite.
        ArtifactError: `folder` holds no safetensors file.
    """
    models = {"pruned": model} if baseline is None else {"dense": baseline, "pruned": model}
    for name, each in models.items():
        require_finite(
            each,
            f"report: the {name} model",
            "Nothing that it computes means anything: train or load it anew.",
        )
    measured = measure_side_by_side(
        models,
        seconds,
        threads,
        with_latency=with_latency,
        min_iterations=min_iterations,
        min_seconds=min_seconds,
        max_seconds=max_seconds,
        folders={} if folder is None else {"pruned": folder},
        macs_seconds=[reference_seconds],
    )
    small = _facts(model, trace(model), measured["pruned"], reference_seconds)
    dense = None
    if baseline is not None:
        dense = _facts(baseline, trace(baseline), measured["dense"], reference_seconds)
    elif dense_graph is not None:
        dense = _facts(model, dense_graph, _counted(dense_graph, small.measurement.macs), reference_seconds)
    data = ReportData(
        title=title,
        reference_seconds=float(reference_seconds),
        model=small,
        baseline=dense,
        comparisons=_comparisons(dense, small),
        budget=_budget_terms(budget, dense, small, float(reference_seconds)),
        results={stage: _task_metrics(stage, values) for stage, values in (results or {}).items()},
        history=[StepRecord.model_validate(dict(record)) for record in history],
        made=made,
        settings={name: str(value) for name, value in (settings or {}).items()},
    )
    return Report(data)


def _facts(model: nn.Module, graph: PruningGraph, measured: Measurement, seconds: float) -> ModelFacts:
    cost = graph.cost(seconds=seconds)
    return ModelFacts(
        architecture=type(model).__name__,
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


def _comparisons(dense: ModelFacts | None, small: ModelFacts) -> list[Comparison]:
    found = []
    for latency in small.measurement.latency if dense else []:
        reference = dense.measurement.latency_at(latency.seconds, latency.threads) if dense else None
        if dense is not None and reference is not None:
            ratio = dense.measurement.macs[latency.seconds] / small.measurement.macs[latency.seconds]
            found.append(Comparison(speed_up=speed_up(reference, latency), macs_ratio=ratio))
    return found


def _budget_terms(
    budget: str | None, dense: ModelFacts | None, small: ModelFacts, seconds: float
) -> list[BudgetFacts]:
    """Return each term of a budget (`macs=3G,frontend.macs=40%`) with what the pruned model reached."""
    terms = []
    for term in split_budget(budget or ""):
        achieved = _amount(term, small, seconds)
        if achieved is not None:
            whole = None if dense is None else _amount(term, dense, seconds)
            terms.append(
                BudgetFacts(
                    term=term.strip(), achieved=achieved, fraction=achieved / whole if whole else None
                )
            )
    return terms


def _amount(term: str, facts: ModelFacts, seconds: float) -> float | None:
    """Return what a model has of the quantity of a term (bytes, milliseconds), None if not measured."""
    name = term.partition("=")[0].strip()
    section, _, kind = name.rpartition(".")
    if kind == "memory":
        return facts.measurement.size_bytes
    if kind == "latency":
        at = parse_budget(term)[0].at
        latency = facts.measurement.latency_at(at.seconds or seconds, at.threads)
        return None if latency is None else latency.median_ms
    if kind not in ("macs", "params"):
        return None
    if section:
        found = facts.sections.get(section)
        if found is None:
            return None
        return found.macs if kind == "macs" else found.params
    return facts.measurement.macs[seconds] if kind == "macs" else facts.measurement.params


def _task_metrics(stage: str, values: Mapping[str, Any]) -> dict[str, float]:
    """Return a stage's metrics under plain names, without what a trainer adds (runtime, epoch)."""
    plain = {metric_name(name.removeprefix(f"{stage}_")): value for name, value in values.items()}
    return {name: float(value) for name, value in plain.items() if is_task_metric(name) and _is_number(value)}


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
