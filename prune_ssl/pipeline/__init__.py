"""The pipeline: run a recipe from audio to a smaller model and its report."""

from typing import TYPE_CHECKING

from prune_ssl.lazy_names import lazily

if TYPE_CHECKING:
    from prune_ssl.pipeline.evaluating import Evaluation, evaluate
    from prune_ssl.pipeline.judging import JudgingConfig
    from prune_ssl.pipeline.running import Outcome, dry_run, plan_architecture, run, trainer_for

__getattr__, __dir__ = lazily(
    __name__,
    {
        "prune_ssl.pipeline.evaluating": "Evaluation evaluate",
        "prune_ssl.pipeline.judging": "JudgingConfig",
        "prune_ssl.pipeline.running": "Outcome dry_run plan_architecture run trainer_for",
    },
)

__all__ = [
    "Evaluation",
    "JudgingConfig",
    "Outcome",
    "dry_run",
    "evaluate",
    "plan_architecture",
    "run",
    "trainer_for",
]
