"""What is predicted and how it is judged: head, collator and metric of each task."""

from prune_ssl.errors import RecipeError
from prune_ssl.tasks.classification import Classification, classification_metrics
from prune_ssl.tasks.intervals import bootstrap_interval
from prune_ssl.tasks.metrics import Accuracy
from prune_ssl.tasks.task import Task

__all__ = [
    "TASKS",
    "Accuracy",
    "Classification",
    "Task",
    "bootstrap_interval",
    "classification_metrics",
    "task_class",
]

TASKS: dict[str, type[Task]] = {
    "classification": Classification,
}
"""Task by the name that a recipe gives it."""


def task_class(name: str) -> type[Task]:
    """Look a task up.

    Raises:
        RecipeError: there is none of that name.
    """
    if name not in TASKS:
        raise RecipeError(f"task: no task is named {name!r}: choose from {', '.join(sorted(TASKS))}")
    return TASKS[name]
