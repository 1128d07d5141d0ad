"""Owns what a task is: everything about training and judging that depends on what is predicted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np
import torch
from transformers import EvalPrediction, PreTrainedModel, ProcessorMixin, SequenceFeatureExtractor
from typing_extensions import Self

from prune_ssl.data import Clip, SpeechCollator, SpeechFolder
from prune_ssl.errors import RecipeError
from prune_ssl.models.arguments import check_types
from prune_ssl.tasks.beam import BeamSettings
from prune_ssl.tasks.heads import AutoClass, Head

Processor = SequenceFeatureExtractor | ProcessorMixin
Judge = Callable[[EvalPrediction], dict[str, float]]
"""For `Trainer(compute_metrics=...)`."""
Label = int | list[int] | None
"""What the loss takes for one clip: a class, several indices, or nothing."""
Array = TypeVar("Array", torch.Tensor, np.ndarray)


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """What a recipe may say beyond the name of its task."""

    target: str | None = None
    """The column or columns to predict, as the folder was read; None: the task's own."""
    tokenizer: str | None = None
    """CTC: folder or hub name of a tokenizer; None: the model's own, else made from train."""
    decoding: BeamSettings | None = None
    """CTC: beam search with a language model, judged beside greedy decoding; None: greedy only."""
    weights: tuple[float, ...] = ()
    """Joint tasks: the weight of each column's loss, in the order of the target; empty: 1 each."""
    trials: str | None = None
    """Verification: trial list, relative to the data folder; None: a usual name, else all pairs."""
    judged: str | None = None
    """The split to judge on; None: test where there is one, else validation."""
    crop_seconds: float | None = None
    """Longer training clips are heard in pieces of this length."""
    speed: float = 1.0
    """Training clips are played up to so many times as fast."""

    def __post_init__(self) -> None:
        check_types(self, RecipeError)


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """What a run must know of a kind of task before it reads any clip.

    >>> TaskSpec(name="emotion", metric="accuracy", auto_class=AutoClass).target
    'label'
    """

    name: str
    """The word for the task in a recipe."""
    target: str = "label"
    """The column that the task predicts unless the recipe names another; "": none."""
    metric: str
    """The key of the metrics that counts, for example for the best checkpoint."""
    greater_is_better: bool = True
    """Whether a higher metric is a better one."""
    auto_class: AutoClass
    """The Auto class of transformers for the head."""
    open_targets: bool = False
    """Whether judged clips may have targets that train does not have (texts; speakers in verification)."""
    loss_is_judged: bool = True
    """Whether the loss of judged clips means anything (not with speakers that no class stands for)."""
    whole_clips: bool = False
    """Whether the target is a sequence over time, which cannot be cut with its clip: `FolderConfig`."""
    blanks: bool = False
    """Whether a clip may lack a part of its target, which then gives no loss and is not judged."""


class Task(ABC):
    """A kind of target: its head, what its loss takes, and its metric.

    A task of one's own gives `spec` and four methods: `from_folder`, `head`, `encode` and `judge`. The other
    methods have defaults for a task with one class index per clip and the model's own loss.
    """

    spec: ClassVar[TaskSpec]

    @classmethod
    @abstractmethod
    def from_folder(
        cls, folder: SpeechFolder, model: PreTrainedModel | None = None, settings: TaskSettings | None = None
    ) -> Self:
        """Make the task from what the train split holds, fitting `model`'s head where that is possible."""

    @property
    @abstractmethod
    def head(self) -> Head:
        """The head that the task trains."""

    @abstractmethod
    def encode(self, target: str) -> Label:
        """Turn a target as metadata.csv has it into what the loss takes."""

    @abstractmethod
    def judge(self, clips: Sequence[Clip], model: PreTrainedModel) -> Judge | None:
        """For `Trainer(compute_metrics=...)` on exactly these clips in this order; None: the loss counts."""

    def encode_judged(self, target: str) -> Label:
        """Encode the target of a clip that is judged: where targets are open, a new one is no error."""
        return self.encode(target)

    @property
    def logit_groups(self) -> tuple[int, ...] | None:
        """Sizes of the parts of a clip's logits that have a softmax each; None: one softmax."""
        return None

    def processor(self, extractor: SequenceFeatureExtractor) -> Processor:
        """Return what is saved with the model, so that `transformers.pipeline` works on the folder."""
        return extractor

    def collator(
        self, processor: Processor | None = None, *, attention_mask: bool | None = None
    ) -> SpeechCollator:
        """Return what makes the batches of this task: padded waveforms and labels."""
        return SpeechCollator(processor, attention_mask=attention_mask)

    def loss_function(self) -> Callable[..., torch.Tensor] | None:
        """For `Trainer(compute_loss_func=...)`; None: the model's own loss."""
        return None

    def check(
        self, folder: SpeechFolder, model: PreTrainedModel, settings: TaskSettings | None = None
    ) -> Iterable[str]:
        """Look at targets and clips beside the model; give one line for each thing that a user should know.

        The settings say what is judged and how training clips are heard.

        Raises:
            DataError: no training on these clips can work.
        """
        return ()

    def slim(self, outputs: Array | tuple[Array, ...] | list[Array], labels: object) -> Array:
        """For `Trainer(preprocess_logits_for_metrics=...)`: what `judge` needs of a batch's outputs.

        By default that is the logits, without the hidden states and attentions that follow them.
        """
        return outputs[0] if isinstance(outputs, (tuple, list)) else outputs
