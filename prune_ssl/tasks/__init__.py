"""What is predicted and how it is judged: head, collator and metric of each task."""

from prune_ssl.errors import RecipeError
from prune_ssl.tasks.beam import BeamDecoder, BeamSettings
from prune_ssl.tasks.classification import Classification, classification_metrics
from prune_ssl.tasks.ctc import Phonemes, Recognition
from prune_ssl.tasks.intervals import bootstrap, bootstrap_interval, bootstrap_ratio
from prune_ssl.tasks.joint import Joint
from prune_ssl.tasks.metrics import (
    Accuracy,
    CharacterErrorRate,
    EqualErrorRate,
    MinDetectionCost,
    PhonemeErrorRate,
    SlotF1,
    WordErrorRate,
)
from prune_ssl.tasks.representation import Representation
from prune_ssl.tasks.slots import Slots
from prune_ssl.tasks.task import Processor, Task, TaskSettings
from prune_ssl.tasks.verification import Verification

__all__ = [
    "TASKS",
    "Accuracy",
    "BeamDecoder",
    "BeamSettings",
    "CharacterErrorRate",
    "Classification",
    "EqualErrorRate",
    "Joint",
    "MinDetectionCost",
    "PhonemeErrorRate",
    "Phonemes",
    "Processor",
    "Recognition",
    "Representation",
    "SlotF1",
    "Slots",
    "Task",
    "TaskSettings",
    "Verification",
    "WordErrorRate",
    "bootstrap",
    "bootstrap_interval",
    "bootstrap_ratio",
    "classification_metrics",
    "task_class",
]

TASKS: dict[str, type[Task]] = {
    "classification": Classification,
    "ctc": Recognition,
    "joint": Joint,
    "phonemes": Phonemes,
    "representation": Representation,
    "slots": Slots,
    "speaker_verification": Verification,
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
