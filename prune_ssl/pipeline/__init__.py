"""The pipeline: run a recipe from audio to a smaller model and its report."""

from prune_ssl.pipeline.running import Outcome, dry_run, plan_architecture, run, trainer_for

__all__ = ["Outcome", "dry_run", "plan_architecture", "run", "trainer_for"]
