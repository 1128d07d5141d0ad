"""Owns what a task is: everything about training and judging that depends on what is predicted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from transformers import EvalPrediction, PreTrainedModel, ProcessorMixin, Wav2Vec2FeatureExtractor

from prune_ssl.data import SpeechCollator, SpeechFolder

Processor = Wav2Vec2FeatureExtractor | ProcessorMixin


class Task(Protocol):
    """A head, a collator and a metric for one kind of target."""

    name: ClassVar[str]
    """The word for it in a recipe."""
    target: ClassVar[str]
    """The column of metadata.csv that it predicts: `FolderConfig(target=task.target)`."""
    metric: ClassVar[str]
    """The key of `compute_metrics` that counts, e.g. for the best checkpoint."""
    greater_is_better: ClassVar[bool]
    """Whether a higher metric is a better one."""

    @classmethod
    def from_folder(cls, folder: SpeechFolder, model: PreTrainedModel | None = None) -> Task:
        """Make the task from what the train split holds, fitting `model`'s head where that is possible."""
        ...

    def has_head(self, model: PreTrainedModel) -> bool:
        """Return whether `model` has this task's head already, so that it may be trained."""
        ...

    @property
    def config_overrides(self) -> dict[str, Any]:
        """Fields for the model's config, also usable as `from_pretrained(..., **overrides)`."""
        ...

    def encode(self, target: str) -> Any:
        """Turn a target as metadata.csv has it into what the loss takes."""
        ...

    def with_head(self, model: PreTrainedModel) -> PreTrainedModel:
        """Give a model that has this task's head; the backbone's weights are kept."""
        ...

    def collator(
        self, processor: Processor | None = None, *, attention_mask: bool | None = None
    ) -> SpeechCollator:
        """Make the batches of this task."""
        ...

    @property
    def compute_metrics(self) -> Callable[[EvalPrediction], dict[str, float]]:
        """For `Trainer(compute_metrics=...)`."""
        ...
