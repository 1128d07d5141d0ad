"""Owns training without labels: a bare model that learns its teacher's states; how near it comes counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from transformers import AutoModel, PreTrainedModel, Wav2Vec2FeatureExtractor

from prune_ssl.data import Clip, SpeechCollator, SpeechFolder
from prune_ssl.models.origin import hand_on_origin
from prune_ssl.tasks.heads import kind_of_head
from prune_ssl.tasks.task import Judge, Processor, TaskSettings


@dataclass(frozen=True)
class Representation:
    """No target: distillation is all that is learned, and its loss on judged clips all that is said of it."""

    name: ClassVar[str] = "representation"
    target: ClassVar[str] = ""
    metric: ClassVar[str] = "loss"
    greater_is_better: ClassVar[bool] = False
    auto_class: ClassVar[Any] = AutoModel
    open_targets: ClassVar[bool] = True
    logit_groups: ClassVar[tuple[int, ...] | None] = None
    loss_is_judged: ClassVar[bool] = True
    whole_clips: ClassVar[bool] = False
    blanks: ClassVar[bool] = False

    @classmethod
    def from_folder(
        cls, folder: SpeechFolder, model: PreTrainedModel | None = None, settings: TaskSettings | None = None
    ) -> Representation:
        """Make the task; any folder of speech will do."""
        return cls()

    def has_head(self, model: PreTrainedModel) -> bool:
        """Return True: there is no head to train."""
        return True

    def head_note(self, model: PreTrainedModel) -> str:
        """Say that there is none."""
        kind = kind_of_head(model)
        return "none" if kind == "no head" else f"dropped ({kind}): the task trains a bare model"

    @property
    def config_overrides(self) -> dict[str, Any]:
        """None."""
        return {}

    def encode(self, target: str) -> None:
        """Return None: batches have no labels."""

    def encode_judged(self, target: str) -> None:
        """Do the same."""

    def with_head(self, model: PreTrainedModel) -> PreTrainedModel:
        """Give the bare model, without any head that it has."""
        backbone: Any = model.base_model
        hand_on_origin(model, backbone)
        return cast(PreTrainedModel, backbone)

    def processor(self, extractor: Wav2Vec2FeatureExtractor) -> Processor:
        """The feature extractor alone."""
        return extractor

    def collator(
        self, processor: Processor | None = None, *, attention_mask: bool | None = None
    ) -> SpeechCollator:
        """Padded waveforms."""
        return SpeechCollator(processor, attention_mask=attention_mask)

    def loss_function(self) -> Callable[..., torch.Tensor] | None:
        """None: a bare model has no loss of its own."""
        return None

    def check(
        self, folder: SpeechFolder, model: PreTrainedModel, settings: TaskSettings | None = None
    ) -> tuple[str, ...]:
        """Nothing: there are no targets."""
        return ()

    def judge(self, clips: Sequence[Clip], model: PreTrainedModel) -> Judge | None:
        """None: the loss of distillation is the judgement."""
        return None

    @staticmethod
    def slim(outputs: Any, labels: Any) -> Any:
        """The last hidden state."""
        return outputs[0] if isinstance(outputs, (tuple, list)) else outputs
