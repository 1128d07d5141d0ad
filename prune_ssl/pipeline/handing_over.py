"""Save a finished model of a run, measure it, and write its reports and its model card."""

from collections.abc import Sequence
from pathlib import Path

import yaml
from huggingface_hub import ModelCard
from torch import nn

from prune_ssl.artifacts import plan_from_dense, save_pretrained
from prune_ssl.artifacts.companions import CARD, CARD_OF_SOURCE
from prune_ssl.distillation import save_projections
from prune_ssl.measuring import Timing
from prune_ssl.pipeline.dense_losses import kept_losses
from prune_ssl.pipeline.folders import RECIPE_FILE
from prune_ssl.pipeline.preparation import Ready, Say, set_masking_
from prune_ssl.profiling.amounts import Reached, reached
from prune_ssl.recipes import Recipe
from prune_ssl.recipes.written import shareable_data
from prune_ssl.reporting import Report, RunFacts, report
from prune_ssl.reporting.card import Provenance, model_card
from prune_ssl.reporting.model import FINE_TUNED
from prune_ssl.runtimes.registry import EAGER
from prune_ssl.tracing import Traced
from prune_ssl.training import Finished
from prune_ssl.training.processes import on_first
from prune_ssl.writing import write_text

REPORTS = ("md", "html", "json")
"""The forms of each report, in the order of writing. A sweep takes the last one as the sign of a result."""


def hand_over(
    recipe: Recipe,
    ready: Ready,
    dense: Traced[nn.Module] | None,
    made: Finished,
    say: Say,
    suffix: str = "",
) -> None:
    """Save one model of a run, measure it, and write its reports, all in the first process.

    Both models are moved to the CPU, where reports measure. The dense model may have taught on a GPU.

    Args:
        recipe: The recipe.
        ready: The prepared run.
        dense: The dense model with its graph. None: the finished model is the dense one, reported alone.
        made: The finished model with its results.
        say: Called with one line at each step.
        suffix: A suffix for the names of the model's folder and reports.
    """
    folder = recipe.folder
    set_masking_(made.model, ready.spec_augment)
    processor, model_folder = ready.task.processor(ready.extractor), folder / f"model{suffix}"

    def write() -> None:
        plan = made.plan
        if dense is not None and plan is not None:
            plan = plan_from_dense(dense.model, plan)
        save_pretrained(made.model, model_folder, overwrite=True, processor=processor, plan=plan)
        if recipe.distillation is not None and recipe.distillation.keep_projections:
            assert made.projections is not None  # `check_losses` has seen to it
            save_projections(made.projections, model_folder)
        made.model.cpu()
        if dense is not None:
            dense.model.cpu()
        say(f"Measuring the {_kind(recipe)} model{f' of {made.budget}' if made.budget else ''}")
        amounts = [] if dense is None else reached(made.limits, made.model, dense.model)
        written = _report(recipe, made, dense, model_folder, ready, amounts)
        written.save(model_folder / "report.json")
        write_text(model_folder / CARD, model_card(written.data, _provenance(recipe, model_folder)))
        for kind in REPORTS:
            written.save(folder / f"report{suffix}.{kind}")
        for each in amounts:
            say(str(each))

    on_first(write)


def _report(
    recipe: Recipe,
    made: Finished,
    dense: Traced[nn.Module] | None,
    model_folder: Path,
    ready: Ready,
    amounts: Sequence[Reached],
) -> Report:
    # The report also times the lengths of a latency budget, if its conditions are those of the report.
    conditions = [limit.constraint.at for limit in made.limits if limit.constraint.metric == "latency"]
    timed = [at for at in conditions if (at.device, at.dtype, at.runtime) == ("cpu", "float32", EAGER)]
    loss_counts = ready.task.spec.loss_is_judged
    results = {
        stage: {key: value for key, value in found.items() if loss_counts or key != f"{stage}_loss"}
        for stage, found in made.results.items()
    }
    timing = Timing(
        seconds=sorted({*recipe.report.seconds, *(at.seconds for at in timed if at.seconds)}),
        threads=sorted({*recipe.report.threads, *(at.threads for at in timed)}),
        min_iterations=recipe.report.iterations,
        min_seconds=recipe.report.min_seconds,
    )
    facts = RunFacts(
        title=recipe.name,
        budget=tuple(limit.constraint for limit in made.limits),
        history=[*kept_losses(recipe.folder), *made.history],
        outcomes=made.outcomes,
        settings=made.schedule,
        made=_kind(recipe),
        recipe=shareable_data(recipe),
        folder=model_folder,
        reference_seconds=recipe.reference_seconds,
        reached={str(each.constraint): (each.small, each.dense) for each in amounts},
    )
    model = made.model if dense is not None else Traced(made.model, ready.graph)
    return report(model, dense, results=results, timing=timing, facts=facts)


def _kind(recipe: Recipe) -> str:
    """Return the report's word for the model that a recipe makes."""
    if recipe.only_fine_tunes:
        return FINE_TUNED
    return "pruned" if recipe.student is None else "student"


def _provenance(recipe: Recipe, model_folder: Path) -> Provenance:
    """Return the origin of a model for its card."""
    source = model_folder / CARD_OF_SOURCE
    try:
        card = ModelCard.load(source).data.to_dict() if source.is_file() else {}
    except (ValueError, OSError, yaml.YAMLError):  # the source's README.md may not be a model card
        card = {}
    name, data = recipe.model.name, recipe.data.path
    command = f"prune-ssl run {RECIPE_FILE}"
    return Provenance(name, recipe.task, Path(data).name if data else "", command, card)
