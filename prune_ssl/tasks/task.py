"""Owns what a task is: everything about training and judging that depends on what is predicted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from transformers import EvalPrediction, PreTrainedModel, ProcessorMixin, Wav2Vec2FeatureExtractor

from prune_ssl.data import Clip, SpeechCollator, SpeechFolder
from prune_ssl.tasks.beam import BeamSettings

Processor = Wav2Vec2FeatureExtractor | ProcessorMixin
Judge = Callable[[EvalPrediction], dict[str, float]]
"""For `Trainer(compute_metrics=...)`."""


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


def label_fields(names: Sequence[str]) -> dict[str, Any]:
    """Return `num_labels`, `id2label` and `label2id`, as a transformers config has them."""
    return {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
    }


class Task(Protocol):
    """A head, a collator and a metric for one kind of target."""

    name: ClassVar[str]
    """The word for it in a recipe."""
    target: ClassVar[str]
    """The column that it predicts unless the recipe names another: `FolderConfig(target=...)`; "": none."""
    metric: ClassVar[str]
    """The key of its metrics that counts, e.g. for the best checkpoint."""
    greater_is_better: ClassVar[bool]
    """Whether a higher metric is a better one."""
    auto_class: ClassVar[Any]
    """The Auto class of transformers for its head."""
    open_targets: ClassVar[bool]
    """Whether judged clips may have targets that train does not have (texts; speakers in verification)."""
    loss_is_judged: ClassVar[bool]
    """Whether the loss of judged clips means anything (not with speakers that no class stands for)."""
    whole_clips: ClassVar[bool]
    """Whether the target is a sequence over time, which cannot be cut with its clip: `FolderConfig`."""
    blanks: ClassVar[bool]
    """Whether a clip may lack a part of its target, which then gives no loss and is not judged."""

    @classmethod
    def from_folder(
        cls, folder: SpeechFolder, model: PreTrainedModel | None = None, settings: TaskSettings | None = None
    ) -> Task:
        """Make the task from what the train split holds, fitting `model`'s head where that is possible."""
        ...

    def has_head(self, model: PreTrainedModel) -> bool:
        """Return whether `model` has this task's head already, so that it may be trained."""
        ...

    def head_note(self, model: PreTrainedModel) -> str:
        """Say in a few words what becomes of the head of `model`: kept from where, or NEW and why."""
        ...

    @property
    def logit_groups(self) -> tuple[int, ...] | None:
        """Sizes of the parts of a clip's logits that have a softmax each; None: one softmax."""
        ...

    @property
    def config_overrides(self) -> dict[str, Any]:
        """Fields for the model's config, also usable as `from_pretrained(..., **overrides)`."""
        ...

    def encode(self, target: str) -> Any:
        """Turn a target as metadata.csv has it into what the loss takes."""
        ...

    def encode_judged(self, target: str) -> Any:
        """Do the same for a clip that is judged: where targets are open, a new one is no error."""
        ...

    def with_head(self, model: PreTrainedModel) -> PreTrainedModel:
        """Give a model that has this task's head; the backbone's weights are kept."""
        ...

    def processor(self, extractor: Wav2Vec2FeatureExtractor) -> Processor:
        """What is saved with the model, so that `transformers.pipeline` works on the folder."""
        ...

    def collator(
        self, processor: Processor | None = None, *, attention_mask: bool | None = None
    ) -> SpeechCollator:
        """Make the batches of this task."""
        ...

    def loss_function(self) -> Callable[..., torch.Tensor] | None:
        """For `Trainer(compute_loss_func=...)`; None: the model's own loss."""
        ...

    def check(
        self, folder: SpeechFolder, model: PreTrainedModel, settings: TaskSettings | None = None
    ) -> Iterable[str]:
        """Look at targets and clips beside the model; one line for each thing that a user should know.

        The settings say what is judged and how training clips are heard.

        Raises:
            DataError: no training on these clips can work.
        """
        ...

    def judge(self, clips: Sequence[Clip], model: PreTrainedModel) -> Judge | None:
        """For `Trainer(compute_metrics=...)` on exactly these clips in this order; None: the loss counts."""
        ...

    def slim(self, outputs: Any, labels: Any) -> Any:
        """For `Trainer(preprocess_logits_for_metrics=...)`: what `judge` needs of a batch's outputs."""
        ...
