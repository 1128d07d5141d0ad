"""What is predicted and how it is judged: head, collator and metric of each task."""

from prune_ssl.tasks.beam import BeamDecoder, BeamSettings
from prune_ssl.tasks.classification import Classification, ClassificationHead, classification_metrics
from prune_ssl.tasks.ctc import Phonemes, Recognition
from prune_ssl.tasks.differences import ClipJudge, PairedDifference, outcomes_from_data, paired_difference
from prune_ssl.tasks.heads import Head
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
from prune_ssl.tasks.outcomes import Outcomes
from prune_ssl.tasks.representation import Representation
from prune_ssl.tasks.slots import Slots
from prune_ssl.tasks.table import TASKS, register_task, task_class
from prune_ssl.tasks.task import Judge, Label, Processor, Task, TaskSettings, TaskSpec
from prune_ssl.tasks.trial_outcomes import TrialOutcomes
from prune_ssl.tasks.verification import Verification

__all__ = [
    "TASKS",
    "Accuracy",
    "BeamDecoder",
    "BeamSettings",
    "CharacterErrorRate",
    "Classification",
    "ClassificationHead",
    "ClipJudge",
    "EqualErrorRate",
    "Head",
    "Joint",
    "Judge",
    "Label",
    "MinDetectionCost",
    "Outcomes",
    "PairedDifference",
    "PhonemeErrorRate",
    "Phonemes",
    "Processor",
    "Recognition",
    "Representation",
    "SlotF1",
    "Slots",
    "Task",
    "TaskSettings",
    "TaskSpec",
    "TrialOutcomes",
    "Verification",
    "WordErrorRate",
    "bootstrap",
    "bootstrap_interval",
    "bootstrap_ratio",
    "classification_metrics",
    "outcomes_from_data",
    "paired_difference",
    "register_task",
    "task_class",
]
