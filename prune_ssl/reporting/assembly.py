"""Make a report: measure the models, collect the facts, and save them in a layout chosen by the suffix."""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table as RichTable
from rich.text import Text
from torch import nn

from prune_ssl.errors import ArtifactError
from prune_ssl.measuring import Measurement, Timing, measure_side_by_side, speed_up
from prune_ssl.models.finite import NOT_FINITE, require_finite
from prune_ssl.reporting import content, plots, render
from prune_ssl.reporting.answer import verdict
from prune_ssl.reporting.comparable import differences
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
from prune_ssl.reporting.paired import stage_differences
from prune_ssl.runtimes.registry import EAGER
from prune_ssl.selection import Constraint, parse_budget, split_budget
from prune_ssl.tracing import PruningGraph, Source, Traced
from prune_ssl.tracing.cost import SECTIONS
from prune_ssl.writing import write_text


@dataclass(frozen=True, repr=False)
class Report:
    """A report that can be saved, printed and read back. `report` makes one."""

    data: ReportData
    """The data of the report."""

    def save(self, path: str | Path) -> Path:
        """Write the report as `.json`, `.md` or `.html`, chosen by the suffix, and return the path.

        An existing file is replaced.

        Raises:
            ArtifactError: the suffix is another one, or the file cannot be written.
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
            ArtifactError: the file is missing or is not a report.
        """
        try:
            return cls(ReportData.model_validate_json(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ArtifactError(
                f"report: can't read {path} as a report: {error}; wanted a .json file that Report.save wrote"
            ) from error

    def __repr__(self) -> str:
        """Return the title and the answer."""
        return f"Report({self.data.title!r}: {verdict(self.data) or 'one model'})"

    def _repr_html_(self) -> str:
        """Return the answer and the main numbers, for notebooks."""
        return render.html_summary(self.data)

    def table(self) -> content.Table:
        """Return the main numbers as text, with columns for dense, pruned, and kept or gained."""
        return content.summary(self.data)

    def summary_table(self) -> RichTable:
        """Return the main numbers as a table for the terminal."""
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
        """Return one plot (`sections`, `units`, `budget`, `losses`) as an SVG file's text, black on white."""
        return plots.draw(self.data, name, standalone=True)


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
    """Measure a model and the dense model that it came from, and report their costs. Both stay unchanged.

    Args:
        model: The pruned model (or any model, to report it alone), its folder or hub name, or a `Traced`.
        baseline: The dense model, given in the same ways and timed in turns with `model`, or only its graph.
            If it is on another device than `model`, a copy of it is timed beside `model`.
        results: The metrics of each stage: `dense`, `cut`, `recovered`.
        timing: Audio lengths, thread counts and the number of calls. None: the defaults of `Timing`.
        with_latency: Whether to time forward passes. Without them there are no latencies and no peak memory.
        facts: Facts that cannot be measured: title, budget, history, settings, folder of the model.

    Raises:
        ModelError: `trace` does not know a model, its forward pass fails, one of its weights is not finite,
            or the two models have heads for different tasks.
        BudgetError: the budget cannot be read.
        ArtifactError: the folder of `facts` holds no safetensors file.

    >>> from transformers import HubertConfig, HubertModel
    >>> config = HubertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    >>> made = report(HubertModel(config), with_latency=False, facts=RunFacts(title="Tiny HuBERT"))
    >>> made.data.title, made.table().columns
    ('Tiny HuBERT', ['', 'model'])
    """
    timing, facts, small = Timing.of(timing), facts or RunFacts(), Traced.of(model, "report")
    dense_graph = baseline if isinstance(baseline, PruningGraph) else None
    dense = None
    if baseline is not None and not isinstance(baseline, PruningGraph):
        dense = Traced.of(baseline, "report: baseline")
    notes = [] if dense is None else differences(small, dense)
    models = {"pruned": small} if dense is None else {"dense": dense, "pruned": small}
    for name, each in models.items():
        require_finite(each.model, f"report: the {name} model", NOT_FINITE)
    given = facts.reference_seconds
    seconds = timing.reference_seconds if given is None else float(given)
    timed = models
    if dense is not None and with_latency:
        timed = models | {"dense": Traced(beside(dense.model, small.model), dense.graph)}
    measured = measure_side_by_side(
        timed,
        timing,
        with_latency=with_latency,
        folders={} if facts.folder is None else {"pruned": facts.folder},
        macs_seconds=[seconds],
    )
    found = {
        name: model_facts(type(each.model), each.graph, measured[name], seconds)
        for name, each in models.items()
    }
    if dense_graph is not None:
        counted = _counted(dense_graph, measured["pruned"].macs)
        found["dense"] = model_facts(type(small.model), dense_graph, counted, seconds)
    return Report(_data(found, facts, results or {}, notes, seconds))


def beside(dense: nn.Module, small: nn.Module) -> nn.Module:
    """Return the dense model on the device of the small one: itself if it is there, else a copy."""
    here, there = (next(each.parameters()).device for each in (dense, small))
    if here == there or "meta" in (here.type, there.type):
        return dense
    return copy.deepcopy(dense).to(there)


def _data(
    found: Mapping[str, ModelFacts],
    facts: RunFacts,
    results: Mapping[str, Mapping[str, object]],
    notes: list[str],
    seconds: float,
) -> ReportData:
    """Collect the measurements and the caller's facts."""
    small, dense = found["pruned"], found.get("dense")
    return ReportData(
        title=facts.title,
        reference_seconds=seconds,
        model=small,
        baseline=dense,
        comparisons=[] if dense is None else _comparisons(dense, small),
        budget=_budget_terms(facts, dense, small, seconds),
        results={stage: task_metrics(stage, values) for stage, values in results.items()},
        outcomes={stage: dict(found) for stage, found in facts.outcomes.items()},
        differences=stage_differences(facts.outcomes),
        history=[StepRecord.model_validate(dict(record)) for record in facts.history],
        notes=notes,
        made=facts.made,
        settings={name: str(value) for name, value in facts.settings.items()},
        recipe=dict(facts.recipe),
    )


def model_facts(
    kind: type[nn.Module], graph: PruningGraph, measured: Measurement, seconds: float
) -> ModelFacts:
    """Return the facts on one model from its class, its graph and its measurement."""
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
    """Return the parameters and MACs of a model from its graph alone."""
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
    facts: RunFacts, dense: ModelFacts | None, small: ModelFacts, seconds: float
) -> list[BudgetFacts]:
    """Return each term of a budget (`macs=3G,frontend.macs=40%`) with the amount that the model reached."""
    budget = facts.budget
    if isinstance(budget, str):
        asked = {term: parse_budget(term)[0] for term in split_budget(budget)}
    else:
        asked = {str(constraint): constraint for constraint in budget or ()}
    terms = []
    for term, constraint in asked.items():
        achieved, whole = facts.reached.get(str(constraint), (None, None))
        if achieved is None:
            achieved = _amount(constraint, small, seconds)
            whole = None if dense is None else _amount(constraint, dense, seconds)
        if achieved is not None:
            fraction = achieved / whole if whole else None
            terms.append(BudgetFacts(term=term, achieved=achieved, fraction=fraction))
    return terms


def _amount(constraint: Constraint, facts: ModelFacts, seconds: float) -> float | None:
    """Return a model's amount of a constraint's quantity (bytes, milliseconds), None if not measured.

    A report measures in eager PyTorch, so that it knows no amount of another runtime.
    """
    measured, at = facts.measurement, constraint.at
    if at.runtime != EAGER or (constraint.metric == "latency" and constraint.section is not None):
        return None
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


def task_metrics(stage: str, values: Mapping[str, object]) -> dict[str, float]:
    """Return a stage's metrics under plain names, without a trainer's own values (runtime, epoch).

    >>> task_metrics("dense", {"dense_accuracy": 0.9, "dense_runtime": 2.0})
    {'accuracy': 0.9}
    """
    plain = {metric_name(name.removeprefix(f"{stage}_")): value for name, value in values.items()}
    return {
        name: float(value)
        for name, value in plain.items()
        if is_task_metric(name) and isinstance(value, int | float) and not isinstance(value, bool)
    }
