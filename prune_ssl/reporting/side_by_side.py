"""Any number of models side by side: measured in turns, with the metrics of the runs that made them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table as RichTable

from prune_ssl.errors import ArtifactError, ModelError
from prune_ssl.measuring import Timing, measure_side_by_side
from prune_ssl.models.finite import NOT_FINITE, require_finite
from prune_ssl.reporting import models_page
from prune_ssl.reporting.answer import last_stage, main_metric
from prune_ssl.reporting.assembly import Report, model_facts
from prune_ssl.reporting.comparable import differences
from prune_ssl.reporting.model import ModelFacts, ReportData
from prune_ssl.reporting.model_rows import ModelRow, SideBySideData
from prune_ssl.tasks import outcomes_from_data, paired_difference
from prune_ssl.tracing import Source, Traced
from prune_ssl.writing import write_text


@dataclass(frozen=True)
class Known:
    """The results of a model in the report of the run that made it."""

    metric: str
    results: Mapping[str, float]
    """The metrics of the stage of the model, with the ends of their intervals."""
    outcomes: Mapping[str, str] | None
    """The outcomes on each clip, if the report keeps them."""


@dataclass(frozen=True)
class SideBySide:
    """A comparison of models that can be saved and printed. `compare_models` makes one."""

    data: SideBySideData
    """The data of the comparison."""

    def save(self, path: str | Path) -> Path:
        """Write the comparison as `.json`, `.md` or `.html`, chosen by the suffix, and return the path.

        Raises:
            ArtifactError: the suffix is another one, or the file cannot be written.
        """
        target = Path(path)
        layouts = {
            ".json": lambda: self.data.model_dump_json(indent=2) + "\n",
            ".md": lambda: models_page.markdown(self.data),
            ".html": lambda: models_page.html(self.data),
        }
        if target.suffix.lower() not in layouts:
            raise ArtifactError(
                f"can't write {target}: its suffix is {target.suffix!r}; wanted one of {', '.join(layouts)}"
            )
        return write_text(target, layouts[target.suffix.lower()]())

    def summary_table(self) -> RichTable:
        """Return the main numbers as a table for the terminal."""
        rows = models_page.short_table(self.data)
        shown = RichTable(title=self.data.title, title_justify="left", box=SIMPLE_HEAD)
        for index, column in enumerate(rows.columns):
            shown.add_column(column, justify="left" if index == 0 else "right")
        for row in rows.rows:
            shown.add_row(*row)
        return shown


def compare_models(
    models: Mapping[str, Source],
    *,
    timing: Timing | None = None,
    with_latency: bool = True,
    known: Mapping[str, Known] | None = None,
    title: str = "Models side by side",
) -> SideBySide:
    """Measure models side by side, in turns. They stay unchanged.

    Args:
        models: At least two models with a name each; the first is that to which the others are compared.
        timing: Audio lengths, thread counts and the number of calls. None: the defaults of `Timing`.
        with_latency: Whether to time forward passes.
        known: The results of some of the models, such as `known_results` finds.
        title: The heading.

    Raises:
        ModelError: there are fewer than two models, one cannot be traced or is not finite, or their heads are
            for different tasks.

    >>> from transformers import HubertConfig, HubertModel
    >>> sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    >>> models = {str(n): HubertModel(HubertConfig(hidden_size=n, **sizes)) for n in (32, 16)}
    >>> [row.name for row in compare_models(models, with_latency=False).data.models]
    ['32', '16']
    """
    if len(models) < 2:
        raise ModelError("compare_models: give at least two models; `report` reports one.")
    traced = {name: Traced.of(each, f"report: {name}") for name, each in models.items()}
    first, *others = traced.values()
    for each in others:
        differences(each, first)
    for name, each in traced.items():
        require_finite(each.model, f"report: {name}", NOT_FINITE)
    timing = Timing.of(timing)
    seconds = timing.reference_seconds
    measured = measure_side_by_side(traced, timing, with_latency=with_latency, macs_seconds=[seconds])
    rows = [
        _row(
            name,
            model_facts(type(each.model), each.graph, measured[name], seconds),
            next(iter(traced)),
            known or {},
        )
        for name, each in traced.items()
    ]
    return SideBySide(SideBySideData(title=title, reference_seconds=seconds, models=rows))


def _row(name: str, facts: ModelFacts, first: str, known: Mapping[str, Known]) -> ModelRow:
    found = known.get(name)
    if found is None:
        return ModelRow(name=name, facts=facts)
    told: dict[str, float] = {}
    base = known.get(first)
    if base is not None and base.outcomes is not None and found.outcomes is not None and name != first:
        before, after = (outcomes_from_data(each.outcomes or {}) for each in (base, found))
        if before.judged == after.judged and before.metric == after.metric:
            paired = paired_difference(before, after)
            told = {"difference": paired.difference, "difference_low": paired.low}
            told["difference_high"] = paired.high
    return ModelRow(
        name=name,
        facts=facts,
        metric=found.metric,
        value=found.results[found.metric],
        low=found.results.get(f"{found.metric}_low"),
        high=found.results.get(f"{found.metric}_high"),
        **told,
    )


def known_results(folder: str | Path) -> Known | None:
    """Return the results of a model folder from the report of its run. None: there is no such report.

    A model folder of a run holds report.json. The folder `dense` of a run has none of its own, so that its
    results are those of the stage `dense` in the report of the run.

    >>> known_results("nowhere") is None
    True
    """
    place = Path(folder)
    for path, stage in ((place / "report.json", ""), (place.parent / "report.json", "dense")):
        if path.is_file() and (not stage or place.name == stage):
            try:
                return _known(Report.load(path).data, stage)
            except ArtifactError:  # a file of another program
                return None
    return None


def _known(data: ReportData, stage: str) -> Known | None:
    metric, stage = main_metric(data), stage or last_stage(data)
    results = data.results.get(stage, {})
    if not metric or metric not in results:
        return None
    return Known(metric, results, data.outcomes.get(stage))


def named(models: Sequence[str]) -> dict[str, str]:
    """Return short names for folders: the shortest ends of their paths that tell them apart.

    Folders that all paths end in are left out.

    >>> named(["runs/a/model", "runs/b/model"])
    {'a': 'runs/a/model', 'b': 'runs/b/model'}
    """
    parts = [Path(model).parts or (model,) for model in models]
    while min(map(len, parts)) > 1 and len({each[-1] for each in parts}) == 1:
        parts = [each[:-1] for each in parts]
    for count in range(1, max(map(len, parts)) + 1):
        short = ["/".join(each[-count:]) for each in parts]
        if len(set(short)) == len(set(models)):
            return dict(zip(short, models, strict=True))
    return {model: model for model in models}
