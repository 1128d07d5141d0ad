"""Judge a model on the clips of a corpus, with the metrics and intervals that a run's report has."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from prune_ssl.models.int8_linear import has_int8
from prune_ssl.pipeline.judging import JudgingConfig, prepare_judging
from prune_ssl.reporting.assembly import task_metrics
from prune_ssl.tasks import ClipJudge
from prune_ssl.tasks.differences import AnyOutcomes
from prune_ssl.training import DistillationTrainer, SpeechArguments
from prune_ssl.training.processes import cpu_arguments
from prune_ssl.training.progress import use_budget_progress
from prune_ssl.writing import temporary_folder


@dataclass(frozen=True)
class Evaluation:
    """The result of `evaluate`."""

    model: str
    """The folder or hub name of the model, or its class."""
    corpus: str
    """The folder of the corpus."""
    split: str
    """The split of the corpus."""
    task: str
    """The task by its name in recipes."""
    metric: str
    """The main metric of the task."""
    results: Mapping[str, float]
    """The metrics with their intervals, by the names that reports use."""
    notes: tuple[str, ...] = field(default=())
    """Notes on the clips, such as counts of resampled ones."""
    outcomes: AnyOutcomes | None = field(default=None, repr=False)
    """The outcome on each clip, for `prune_ssl.tasks.paired_difference`. None: the task keeps none."""

    def as_data(self) -> dict[str, object]:
        """Return all of it as plain data for JSON."""
        plain = {name: getattr(self, name) for name in ("model", "corpus", "split", "task", "metric")}
        outcomes = None if self.outcomes is None else self.outcomes.to_data()
        return plain | {
            "results": dict(self.results),
            "notes": list(self.notes),
            "outcomes": outcomes,
        }


def evaluate(
    model: nn.Module | str | Path,
    corpus: str | Path,
    split: str = "test",
    config: JudgingConfig | None = None,
    say: Callable[[str], None] | None = None,
) -> Evaluation:
    """Judge a model on one split of a corpus, exactly as a run judges the model that it has made.

    The task, its target and the longest clip are those of the recipe in the model folder's report.json. A
    model without it is judged by the task of its head. Nothing is written, and the model stays as it is.

    Args:
        model: A dense or pruned model with a head, as a folder, a hub name, or what `load_model` returned.
        corpus: The folder of the corpus, in any layout that recipes read. Only the split needs to exist.
        split: train, validation or test.
        config: What does not follow from the model.
        say: Called with one line for each finding. None prints nothing.

    Raises:
        ModelError: the model has no head of the task, or no feature extractor.
        DataError: the corpus or its split cannot be used, or has targets that the model does not predict.
        RecipeError: no task has this name, or the split is unknown.
    """
    judging = prepare_judging(model, corpus, split, config, say)
    arguments, spec = judging.arguments(), judging.task.spec
    found = task_metrics("eval", _judge(judging.model, arguments, judging.config.batch_size))
    if not spec.loss_is_judged:
        found.pop("loss", None)
    judge = arguments["compute_metrics"]
    outcomes = judge.outcomes if isinstance(judge, ClipJudge) else None
    return Evaluation(
        judging.source, str(corpus), split, spec.name, spec.metric, found, judging.notes, outcomes
    )


def _judge(model: PreTrainedModel, arguments: dict[str, Any], batch_size: int) -> dict[str, float]:
    """Return the metrics of a Trainer's evaluation, and leave the model where and as it was."""
    device, training = model.device, model.training
    place_of = cpu_arguments() | ({"use_cpu": True} if has_int8(model) else {})
    with temporary_folder() as place:
        trainer = DistillationTrainer(
            model=model,
            args=SpeechArguments(
                output_dir=str(place),
                per_device_eval_batch_size=batch_size,
                report_to="none",
                disable_tqdm=False,
                dataloader_pin_memory=False,
                **place_of,
            ),
            **arguments,
        )
        use_budget_progress(trainer, "evaluation")
        found = trainer.evaluate()
    nn.Module.to(model, device=device)
    model.train(training)
    return found
