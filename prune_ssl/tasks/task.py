"""The base class of tasks: all that training and judging must know about the predicted target."""

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
from prune_ssl.tasks.heads import AutoClass, Head, require_head

Processor = SequenceFeatureExtractor | ProcessorMixin
Judge = Callable[[EvalPrediction], dict[str, float]]
"""A function for `Trainer(compute_metrics=...)`."""
Label = int | list[int] | None
"""The label of one clip for the loss: a class index, several indices, or None."""
Array = TypeVar("Array", torch.Tensor, np.ndarray)


@dataclass(frozen=True, kw_only=True)
class TaskSettings:
    """The settings of a task that a recipe may give besides its name.

    Raises:
        RecipeError: a value has a wrong type.

    >>> TaskSettings(target="size|milk", judged="test").target
    'size|milk'
    """

    target: str | None = None
    """The column or columns to predict, as in FolderConfig. None: the default column of the task."""
    tokenizer: str | None = None
    """CTC: folder or hub name of a tokenizer. None: the model's own, or one made from train."""
    decoding: BeamSettings | None = None
    """CTC: beam search with a language model, judged in addition to greedy decoding. None: greedy only."""
    weights: tuple[float, ...] = ()
    """Joint tasks: the weight of each column's loss, in the order of the target. Empty: 1 each."""
    margin: float | None = None
    """Joint tasks: the margin of AM-softmax over the speakers. None: cross entropy."""
    trials: str | None = None
    """Verification: trial list, relative to the data folder. None: a list with a usual name, or all pairs."""
    judged: str | None = None
    """The split to judge on. None: test if it exists, else validation."""
    crop_seconds: float | None = None
    """Training reads longer clips in random pieces of this length."""
    speed: float = 1.0
    """The highest speed at which augmentation plays training clips."""

    def __post_init__(self) -> None:
        check_types(self, RecipeError)


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """The properties of a kind of task that a run needs before it reads any clip.

    >>> TaskSpec(name="emotion", metric="accuracy", auto_class=AutoClass).target
    'label'
    """

    name: str
    """The name of the task in a recipe."""
    target: str = "label"
    """The column that the task predicts unless the recipe names another. Empty: no column."""
    metric: str
    """The key of the main metric, which chooses the best checkpoint."""
    greater_is_better: bool = True
    """Whether a higher value of the main metric is better."""
    auto_class: AutoClass
    """The Auto class of transformers for the head."""
    open_targets: bool = False
    """Whether judged clips may have targets that train does not have (texts; speakers in verification)."""
    loss_is_judged: bool = True
    """Whether the loss of judged clips is meaningful. It is not for speakers without a class in the loss."""
    whole_clips: bool = False
    """Whether the target is a sequence over time, which cannot be cut with its clip (see `FolderConfig`)."""
    blanks: bool = False
    """Whether a clip may lack a part of its target. The missing part gives no loss and is not judged."""


class Task(ABC):
    """A kind of prediction: its head, the labels of its loss, and its metrics.

    A new task defines `spec` and four methods: `from_folder`, `head`, `encode` and `judge`. The other methods
    have defaults for a task with one class index per clip and the model's own loss. See docs/add_a_task.md.
    """

    spec: ClassVar[TaskSpec]

    @classmethod
    @abstractmethod
    def from_folder(
        cls, folder: SpeechFolder, model: PreTrainedModel | None = None, settings: TaskSettings | None = None
    ) -> Self:
        """Make the task from the targets of the train split, in the order of `model`'s head if it fits."""

    @classmethod
    def from_model(
        cls, model: PreTrainedModel, folder: SpeechFolder, settings: TaskSettings | None = None
    ) -> Self:
        """Make the task that a trained model solves, so that the model can be judged on any folder.

        Classes and letters are those of the model, not those of the folder. A task whose targets cannot be
        read off the model takes them from the folder, as in training.

        Args:
            model: The trained model, which is not changed.
            folder: The clips to judge. It may lack the train split.
            settings: As in `from_folder`.

        Raises:
            ModelError: the model has no head of this task.
        """
        made = cls.from_folder(folder, model, settings)
        require_head(made.head.fits(model), model, f"the one of task {cls.spec.name}")
        return made

    @property
    @abstractmethod
    def head(self) -> Head:
        """The head that the task trains."""

    @abstractmethod
    def encode(self, target: str) -> Label:
        """Turn a target as it stands in metadata.csv into the label for the loss."""

    @abstractmethod
    def judge(self, clips: Sequence[Clip], model: PreTrainedModel) -> Judge | None:
        """Return the `compute_metrics` of a Trainer for exactly these clips in this order.

        None means that the task has no metric besides the loss.
        """

    def encode_judged(self, target: str) -> Label:
        """Turn the target of a judged clip into a label. With open targets, a new target is not an error."""
        return self.encode(target)

    @property
    def logit_groups(self) -> tuple[int, ...] | None:
        """Sizes of the parts of a clip's logits that have their own softmax. None: one softmax for all."""
        return None

    def processor(self, extractor: SequenceFeatureExtractor) -> Processor:
        """Return the processor to save with the model, so that `transformers.pipeline` loads the folder."""
        return extractor

    def collator(
        self, processor: Processor | None = None, *, attention_mask: bool | None = None
    ) -> SpeechCollator:
        """Return the collator that makes the batches of this task: padded waveforms and labels."""
        return SpeechCollator(processor, attention_mask=attention_mask)

    def loss_function(self) -> Callable[..., torch.Tensor] | None:
        """Return the `compute_loss_func` of a Trainer, or None for the model's own loss."""
        return None

    def check(
        self, folder: SpeechFolder, model: PreTrainedModel, settings: TaskSettings | None = None
    ) -> Iterable[str]:
        """Check targets and clips against the model, and yield one line for each fact that users should know.

        Args:
            folder: The clips.
            model: The model to train.
            settings: They name the judged split and the augmentation of training clips.

        Raises:
            DataError: training on these clips cannot work.
        """
        return ()

    def slim(self, outputs: Array | tuple[Array, ...] | list[Array], labels: object) -> Array:
        """Return the part of a batch's outputs that `judge` needs.

        It is the `preprocess_logits_for_metrics` of a Trainer. By default it returns the logits, without the
        hidden states and attentions that follow them.
        """
        return outputs[0] if isinstance(outputs, (tuple, list)) else outputs
