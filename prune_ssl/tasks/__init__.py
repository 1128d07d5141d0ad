"""What is predicted and how it is judged: head, collator and metric of each task."""

from typing import TYPE_CHECKING

from prune_ssl.lazy_names import lazily

if TYPE_CHECKING:
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

__getattr__, __dir__ = lazily(
    __name__,
    {
        "prune_ssl.tasks.beam": "BeamDecoder BeamSettings",
        "prune_ssl.tasks.classification": "Classification ClassificationHead classification_metrics",
        "prune_ssl.tasks.ctc": "Phonemes Recognition",
        "prune_ssl.tasks.differences": "ClipJudge PairedDifference outcomes_from_data paired_difference",
        "prune_ssl.tasks.heads": "Head",
        "prune_ssl.tasks.intervals": "bootstrap bootstrap_interval bootstrap_ratio",
        "prune_ssl.tasks.joint": "Joint",
        "prune_ssl.tasks.metrics": (
            "Accuracy CharacterErrorRate EqualErrorRate MinDetectionCost PhonemeErrorRate SlotF1 "
            "WordErrorRate"
        ),
        "prune_ssl.tasks.outcomes": "Outcomes",
        "prune_ssl.tasks.representation": "Representation",
        "prune_ssl.tasks.slots": "Slots",
        "prune_ssl.tasks.table": "TASKS register_task task_class",
        "prune_ssl.tasks.task": "Judge Label Processor Task TaskSettings TaskSpec",
        "prune_ssl.tasks.trial_outcomes": "TrialOutcomes",
        "prune_ssl.tasks.verification": "Verification",
    },
)

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
