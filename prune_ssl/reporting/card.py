"""The model card: README.md of a made model's folder, with metadata that the Hugging Face hub reads."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import EvalResult, ModelCardData

from prune_ssl.reporting.answer import last_stage
from prune_ssl.reporting.content import exports_section, summary
from prune_ssl.reporting.formatting import STAGES, is_task_metric, metric_name
from prune_ssl.reporting.model import FINE_TUNED, ReportData
from prune_ssl.reporting.paired import SPEAKERS, interval_lines, with_interval
from prune_ssl.reporting.render import escaped, markdown_table

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
INHERITED = ("language", "license", "datasets")
"""The fields of the base model's card that hold for the pruned model too."""
PIPELINES = {
    "ForCTC": ("automatic-speech-recognition", "AutoModelForCTC"),
    "ForSequenceClassification": ("audio-classification", "AutoModelForAudioClassification"),
    "ForAudioClassification": ("audio-classification", "AutoModelForAudioClassification"),
    "ForAudioFrameClassification": ("audio-classification", "AutoModelForAudioFrameClassification"),
    "ForXVector": ("audio-classification", "AutoModelForAudioXVector"),
    "ForPreTraining": ("feature-extraction", "AutoModelForPreTraining"),
    "Model": ("feature-extraction", "AutoModel"),
}
"""The hub's name of the task, and the Auto class that loads the model, by the end of the class name."""


EXPORTS_BEGIN, EXPORTS_END = "<!-- exports: written by prune_ssl -->", "<!-- end of exports -->"
"""The marks around the card's part on exports, which each export with a corpus replaces."""


@dataclass(frozen=True)
class Provenance:
    """The origin of a model, which its report does not hold.

    >>> Provenance(base_model="facebook/hubert-base-ls960", task="ctc").command
    ''
    """

    base_model: str | None = None
    """Hub name or folder of the model that was pruned. None: it was trained from scratch."""
    task: str = ""
    """The task of the recipe."""
    data: str = ""
    """The name of the corpus."""
    command: str = ""
    """The command that makes the model again."""
    source_card: Mapping[str, object] = field(default_factory=dict)
    """The metadata of the base model's card. The new card takes language, licence and data sets from it."""


def model_card(data: ReportData, source: Provenance, folder_name: str = "FOLDER") -> str:
    """Return the card of the report's model as Markdown.

    Args:
        data: The report, with the dense model if it was measured.
        source: The origin of the model.
        folder_name: The name of the model's folder in the card's example.
    """
    task, auto = _kind(data.model.architecture)
    pruned = data.model.architecture.startswith("Pruned")
    trust = ", trust_remote_code=True" if pruned else ""
    lines = [f"# {escaped(data.title)}", ""]
    lines += [_origin(data, source), ""]
    lines += ["## Cost and quality", "", *markdown_table(summary(data)), ""]
    lines += [*intervals, ""] if (intervals := _intervals(data)) else []
    lines += [
        f"MACs are counted at {data.reference_seconds:g} s of 16 kHz audio, batch 1. Details: report.json.",
        "",
    ]
    lines += _warnings(data)
    lines += exports_lines(data)
    lines += ["## Load", "", "```python"]
    lines += [f"from transformers import AutoFeatureExtractor, {auto}", ""]
    lines += [
        f'model = {auto}.from_pretrained("{folder_name}"{trust})',
        f'extractor = AutoFeatureExtractor.from_pretrained("{folder_name}")',
        "```",
        "",
    ]
    if pruned:
        lines += [
            "If prune_ssl is installed, `prune_ssl.load_pretrained` loads the model without running code "
            "from the folder. `pruning_plan.json` lists the kept units.",
            "",
        ]
    if source.command:
        lines += ["## Make it again", "", f"    {source.command}", ""]
    return f"---\n{_metadata(data, source, task).to_yaml()}\n---\n\n" + "\n".join(lines).rstrip() + "\n"


def exports_lines(data: ReportData) -> list[str]:
    """Return the card's part on exports, between its marks, or no lines if there are no exports."""
    section = exports_section(data)
    if section is None:
        return []
    lines = [EXPORTS_BEGIN, "", f"## {section.title}", ""]
    for table in section.tables:
        lines += [*markdown_table(table), ""]
    return [*lines, *(f"- {escaped(note)}" for note in section.notes), "", EXPORTS_END, ""]


def with_exports(card: str, data: ReportData) -> str:
    """Return a card whose part on exports is that of the report. All other text stays as it is.

    A card without that part gets it before the heading `Load`, or at its end.

    Args:
        card: The text of the card.
        data: The report.
    """
    part = "\n".join(exports_lines(data))
    before, begin, rest = card.partition(f"{EXPORTS_BEGIN}\n")
    _, end, after = rest.partition(f"{EXPORTS_END}\n")
    if begin and end:
        return f"{before}{part}{after}"
    before, load, after = card.partition("\n## Load\n")
    return f"{before.rstrip()}\n\n{part}{load}{after}"


def _kind(architecture: str) -> tuple[str, str]:
    return next((found for end, found in PIPELINES.items() if architecture.endswith(end)), PIPELINES["Model"])


def _origin(data: ReportData, source: Provenance) -> str:
    base = "a model trained from scratch" if source.base_model is None else f"`{source.base_model}`"
    made = f"A smaller version of {base}, made with prune_ssl by structured pruning."
    if data.made == "student":
        made = f"A student of {base}, made with prune_ssl by distillation."
    if data.made == FINE_TUNED:
        made = f"{base[0].upper()}{base[1:]}, fine-tuned with prune_ssl."
    if data.budget:
        made += f" Budget (the share or amount to keep): `{','.join(term.term for term in data.budget)}`."
    if source.task:
        made += f" Task: {source.task}" + (f", on {source.data}." if source.data else ".")
    return made


def _is_judged(name: str) -> bool:
    """Return whether a value is a metric, not the end of an interval, a loss or a count."""
    return is_task_metric(name) and not name.endswith(("_low", "_high", SPEAKERS, "loss", "clips"))


def _intervals(data: ReportData) -> list[str]:
    """Return the intervals of the final stage, and its paired difference from the dense model, as a list."""
    last = last_stage(data)
    lines = [f"- {line}" for line in interval_lines(data.results.get(last, {}))]
    return lines + [
        f"- {metric_name(each.metric)}, {STAGES[each.stage]} minus {STAGES[each.against]}: "
        f"{with_interval(each)}, paired ({each.drawn})"
        for each in data.differences
        if each.stage == last
    ]


def _warnings(data: ReportData) -> list[str]:
    return [line for warning in data.warnings for line in (f"> {escaped(warning)}", "")]


def _metadata(data: ReportData, source: Provenance, task: str) -> ModelCardData:
    stage = last_stage(data)
    found = data.results.get(stage, {})
    metrics = {name: value for name, value in found.items() if _is_judged(name)}
    of_hub = source.base_model is not None and not Path(source.base_model).exists()
    named = source.base_model if of_hub and HUB_NAME.fullmatch(str(source.base_model)) else None

    results = [
        EvalResult(
            task_type=task,
            dataset_type=re.sub(r"[^\w.-]+", "-", source.data) or "unknown",
            dataset_name=source.data or "unknown",
            metric_type=name,
            metric_name=f"{metric_name(name)}, {STAGES.get(stage, '')}",
            metric_value=value,
        )
        for name, value in metrics.items()
    ]
    card = ModelCardData(
        library_name="transformers",
        tags=["prune_ssl", *(["structured-pruning"] if data.made != FINE_TUNED else []), "speech"],
        pipeline_tag=task,
        base_model=named,
        model_name=data.title,
        eval_results=results or None,
    )
    for key in INHERITED:
        card[key] = source.source_card.get(key)
    return card
