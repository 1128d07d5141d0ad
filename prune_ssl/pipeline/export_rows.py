"""Add the figures of an export to the report and the card of its model, and to the reports of its run."""

from pathlib import Path

from prune_ssl.artifacts.companions import CARD
from prune_ssl.errors import ArtifactError
from prune_ssl.exporting import Exported, JudgedFile
from prune_ssl.pipeline.handing_over import REPORTS
from prune_ssl.pipeline.judging import REPORT
from prune_ssl.reporting import Report
from prune_ssl.reporting.card import with_exports
from prune_ssl.reporting.model import ExportFacts, ReportData
from prune_ssl.writing import write_text

MODEL = "model"
"""The start of the names of model folders in a run. Budgets of one run differ by their ends."""


def record_export(folder: Path, made: Exported) -> list[Path]:
    """Add a judged export to the reports and the card of a model. An earlier row of its target is replaced.

    The files are `report.json` and `README.md` in the model's folder, and the reports of the run that made it
    in the folder above. What is not there, or is no report, stays as it is.

    Args:
        folder: The folder of the model.
        made: The export.

    Returns:
        The files that were written.
    """
    if made.judged is None or not folder.is_dir():
        return []
    facts = facts_of(made, made.judged)
    written = []
    own = _with_row(folder / REPORT, facts)
    if own is not None:
        written.append(Report(own).save(folder / REPORT))
        card = folder / CARD
        if card.is_file():
            written.append(write_text(card, with_exports(card.read_text(encoding="utf-8"), own)))
    if folder.resolve().name.startswith(MODEL):
        suffix = folder.resolve().name.removeprefix(MODEL)
        of_run = _with_row(folder.resolve().parent / f"report{suffix}.json", facts)
        if of_run is not None:
            for kind in REPORTS:
                written.append(Report(of_run).save(folder.resolve().parent / f"report{suffix}.{kind}"))
    return written


def _with_row(path: Path, facts: ExportFacts) -> ReportData | None:
    """Return the data of a report with the row of an export, or None if there is no report."""
    try:
        data = Report.load(path).data
    except ArtifactError:
        return None
    others = [each for each in data.exports if each.target != facts.target]
    return data.model_copy(update={"exports": [*others, facts]})


def facts_of(made: Exported, judged: JudgedFile) -> ExportFacts:
    """Return the row of an export for a report."""
    metric, paired = judged.metric, judged.paired
    return ExportFacts(
        target=made.target,
        kind=made.kind,
        size_bytes=made.size_bytes,
        corpus=judged.corpus,
        split=judged.split,
        clips=judged.clips,
        metric=metric,
        value=judged.results[metric],
        low=judged.results.get(f"{metric}_low"),
        high=judged.results.get(f"{metric}_high"),
        pytorch=judged.pytorch[metric],
        difference=judged.difference,
        difference_low=None if paired is None else paired.low,
        difference_high=None if paired is None else paired.high,
        drawn="" if paired is None else paired.drawn,
        latency=judged.latency,
        pytorch_latency=judged.pytorch_latency,
    )
