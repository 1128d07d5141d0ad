"""Owns the shape of a distillation loss: what it reads of both models, and its value for a batch."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from prune_ssl.distillation.taps import Stage, Tapped, depth_of
from prune_ssl.errors import DistillationError
from prune_ssl.models import backbone_of

Pairs = tuple[tuple[int, int], ...]
"""(student's layer, teacher's layer) of each comparison."""
STUDENT, TEACHER = 0, 1
"""Places in a pair."""


@dataclass(frozen=True)
class Models:
    """The two models that a loss compares."""

    student: nn.Module
    teacher: nn.Module

    @property
    def depths(self) -> tuple[int, int]:
        """Encoder layers of the student and of the teacher."""
        return depth_of(self.student), depth_of(self.teacher)

    @property
    def widths(self) -> tuple[int, int]:
        """Hidden size of the student and of the teacher."""
        return int(_config_of(self.student).hidden_size), int(_config_of(self.teacher).hidden_size)

    @property
    def frontend_width(self) -> int:
        """Channels of the student's last convolution."""
        return int(_config_of(self.student).conv_dim[-1])


def _config_of(model: nn.Module) -> Any:  # of a class of its family
    return backbone_of(model)[1].config


@dataclass(frozen=True)
class Batch:
    """One batch as both models answered it. B clips of at most N samples give T frames."""

    student: Tapped
    """States (B, T, D_S), queries and keys of the student, by layer."""
    teacher: Tapped
    """The same of the teacher, for the whole input."""
    teacher_masked: Tapped
    """The same of the teacher, for the input with masked frames; where none are masked, `teacher`."""
    predictions: list[torch.Tensor]
    """Student states mapped to the teacher's width, (B, T, D_T), one for each pair of `hidden_pairs`."""
    student_outputs: object
    """What the student's forward returned."""
    teacher_outputs: dict[str, torch.Tensor]
    """Fields of the teacher's output, by name: those that the losses asked for."""
    audio: torch.Tensor
    """(B, N), what the student heard."""
    clean_audio: torch.Tensor | None = None
    """(B, N), the clean audio on the scale of `audio`, where the teacher heard other audio."""
    normalized: bool = False
    """Whether audio has unit variance, so that it is some 20 times as loud as recordings are."""
    masked_frames: torch.Tensor | None = None
    """(B, T) bool, frames that were hidden from the student."""
    lengths: torch.Tensor | None = None
    """(B,), samples without padding; None: all N."""
    count_valid: Callable[[torch.Tensor, int, Stage], torch.Tensor] | None = field(default=None, repr=False)
    """Maps lengths (B,), T and a stage of the model to (B, T) bool."""
    same_stage: Callable[[Stage], Stage] | None = field(default=None, repr=False)
    """Maps a stage to the first that has the same frames."""
    _valid: dict[tuple[int, Stage], torch.Tensor] = field(default_factory=dict, init=False, repr=False)

    def stage(self, stage: Stage) -> Stage:
        """Return the first stage that has the frames of `stage`."""
        return stage if self.same_stage is None else self.same_stage(stage)

    def valid(self, frames: int, stage: Stage) -> torch.Tensor | None:
        """Return (B, T) bool, False on padding; None where no clip is padded."""
        if self.lengths is None or self.count_valid is None:
            return None
        stage = self.stage(stage)
        if (frames, stage) not in self._valid:
            self._valid[frames, stage] = self.count_valid(self.lengths, frames, stage)
        return self._valid[frames, stage]


class Loss(ABC):
    """One loss of a DistillationConfig, made for a student and its teacher.

    A subclass says what it reads (`states`, `maps`, `field`), and gives `value`. The `Distiller` taps both
    models accordingly, runs them, and adds `weight * value(batch)` to the loss of the step.
    """

    projected = False
    """Whether it reads `Batch.predictions`: student states in the teacher's width."""
    masks_input = False
    """Whether frames of the student's input are masked for it."""
    field: str | None = None
    """The field of both models' outputs that it reads."""
    relies_on: Set[str] = frozenset()
    """Kinds of units that must not be pruned, as it reads states of that width: `hidden`, `conv`."""

    def states(self, side: int) -> Set[int]:
        """Return the layers whose hidden states it reads, of the STUDENT or the TEACHER."""
        return frozenset()

    def maps(self, side: int) -> Set[int]:
        """Return the layers whose queries and keys it reads, of the STUDENT or the TEACHER."""
        return frozenset()

    def make_module(self) -> nn.Module | None:
        """Return what is learned for this loss alone, beside the student; called once."""
        return None

    @abstractmethod
    def value(self, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch, a scalar, unweighted."""


def require_same_shape(name: str, student: torch.Tensor, teacher: torch.Tensor) -> None:
    """Refuse to compare tensors of different shapes.

    Raises:
        DistillationError: the shapes differ.
    """
    if student.shape != teacher.shape:
        raise DistillationError(
            f"{name}: the student gives {tuple(student.shape)}, the teacher {tuple(teacher.shape)}. Both "
            "need the same frame rate and the same labels."
        )


def require_same_frames(name: str, *states: torch.Tensor) -> None:
    """Refuse to relate states (B, T, any) of different T: of other strides, or before and after squeezing.

    Raises:
        DistillationError: the numbers of frames differ.
    """
    frames = [state.shape[1] for state in states]
    if len(set(frames)) > 1:
        raise DistillationError(
            f"{name}: the states to relate have {frames} frames. Both models need the same frame rate; "
            "for SEW set relation_layers from 2 on."
        )


def output_of(outputs: object, name: str) -> torch.Tensor:
    """Return a field of a model's outputs.

    Raises:
        DistillationError: the model gives none.
    """
    found = outputs.get(name) if hasattr(outputs, "get") else getattr(outputs, name, None)
    if not isinstance(found, torch.Tensor):
        raise DistillationError(
            f"a loss on {name} needs models that give them; found {type(outputs).__name__} without. Choose "
            "losses on hidden states, or a model with that head."
        )
    return found
