"""Training without labels: a bare model learns its teacher's states, judged by the distillation loss."""

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
    """The absence of a head: the task trains a bare model."""

    @property
    def config(self) -> dict[str, object]:
        """An empty dict."""
        return {}

    def fits(self, model: PreTrainedModel) -> bool:
        """Return True, because there is no head to train."""
        return True

    def note(self, model: PreTrainedModel) -> str:
        """Return that there is no head, or that the head of `model` is dropped."""
        kind = kind_of_head(model)
        return "none" if kind == "no head" else f"dropped ({kind}): the task trains a bare model"

    def put_on(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the bare model without its head.

        Raises:
            ModelError: the backbone is not a model of transformers.
        """
        backbone = backbone_of(model)[1]
        if not isinstance(backbone, PreTrainedModel):
            raise ModelError(f"{type(model).__name__}: its backbone is not a model of transformers")
        hand_on_origin(model, backbone)
        return backbone


@dataclass(frozen=True)
class Representation(Task):
    """A task without a target: the model learns by distillation alone, judged by the loss of distillation.

    >>> Representation().encode("any target") is None
    True
    """

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
        """Make the task. Any folder of speech will do."""
        return cls()

    @property
    def head(self) -> Head:
        """A head without layers."""
        return NoHead()

    def encode(self, target: str) -> None:
        """Return None, because batches have no labels."""

    def judge(self, clips: Sequence[Clip], model: PreTrainedModel) -> None:
        """Return None, because the loss of distillation is the only metric."""
