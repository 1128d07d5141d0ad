"""Owns training without labels: a bare model that learns its teacher's states; how near it comes counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from transformers import AutoModel, PreTrainedModel
from typing_extensions import Self

from prune_ssl.data import Clip, SpeechFolder
from prune_ssl.errors import ModelError
from prune_ssl.models import backbone_of
from prune_ssl.models.origin import hand_on_origin
from prune_ssl.tasks.heads import Head, kind_of_head
from prune_ssl.tasks.task import Task, TaskSettings, TaskSpec


class NoHead(Head):
    """A bare model."""

    @property
    def config(self) -> dict[str, object]:
        """No fields."""
        return {}

    def fits(self, model: PreTrainedModel) -> bool:
        """Return True: there is no head to train."""
        return True

    def note(self, model: PreTrainedModel) -> str:
        """Say that there is none."""
        kind = kind_of_head(model)
        return "none" if kind == "no head" else f"dropped ({kind}): the task trains a bare model"

    def put_on(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the bare model, without any head that it has."""
        backbone = backbone_of(model)[1]
        if not isinstance(backbone, PreTrainedModel):
            raise ModelError(f"{type(model).__name__}: its backbone is no model of transformers")
        hand_on_origin(model, backbone)
        return backbone


@dataclass(frozen=True)
class Representation(Task):
    """No target: distillation is all that is learned, and its loss on judged clips all that is said of it."""

    spec: ClassVar[TaskSpec] = TaskSpec(
        name="representation",
        target="",
        metric="loss",
        greater_is_better=False,
        auto_class=AutoModel,
        open_targets=True,
    )

    @classmethod
    def from_folder(
        cls, folder: SpeechFolder, model: PreTrainedModel | None = None, settings: TaskSettings | None = None
    ) -> Self:
        """Make the task; any folder of speech will do."""
        return cls()

    @property
    def head(self) -> Head:
        """No head."""
        return NoHead()

    def encode(self, target: str) -> None:
        """Return None: batches have no labels."""

    def judge(self, clips: Sequence[Clip], model: PreTrainedModel) -> None:
        """Return None: the loss of distillation is the judgement."""
