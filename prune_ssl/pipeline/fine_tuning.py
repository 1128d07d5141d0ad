"""The end of a run that only fine-tunes: judge the trained dense model as it is."""

from prune_ssl.artifacts import earlier_plan
from prune_ssl.pipeline.preparation import Ready
from prune_ssl.training import DistillationTrainer, Finished
from prune_ssl.training.progress import use_budget_progress
from prune_ssl.training.record import PruningRecord

STAGE = "fine_tuned"
"""The stage of the results of such a model."""


def judged_alone(ready: Ready) -> Finished:
    """Judge the trained dense model of a run, and return it as the model that the run has made.

    Args:
        ready: The prepared run of a recipe that only fine-tunes. Its model has been trained.

    Returns:
        The model in evaluation mode, with the results of the stage `fine_tuned`. If it was pruned before
        this run, it has the plan of that cut.
    """
    trainer = DistillationTrainer(model=ready.model, args=ready.arguments["dense"], **ready.shared)
    use_budget_progress(trainer, STAGE)
    record = PruningRecord()
    record.judge(trainer, STAGE)
    plan = earlier_plan(ready.model)
    return Finished("", ready.model.eval(), plan, record.results, outcomes=record.outcomes)
