"""DistillationTrainer: a transformers.Trainer whose model also learns from a frozen teacher."""

import copy
from pathlib import Path
from typing import Any

from torch import nn

from prune_ssl.distillation import DistillationConfig, Distiller
from prune_ssl.errors import DistillationError
from prune_ssl.models.arguments import as_model, shown
from prune_ssl.models.checkpointing import (
    checkpointing_layers,
    refuse_reentrant,
    refuse_reentrant_arguments,
)
from prune_ssl.training.distilled_part import DistilledPart
from prune_ssl.training.resumable import ResumableTrainer


class DistillationTrainer(ResumableTrainer):
    """A ResumableTrainer that adds the losses of a DistillationConfig to the model's own.

    The teacher, projections and heads live outside the model and are not saved with it; checkpoints hold what
    is learned in a file of its own.
    Batches may hold `input_lengths` (B,), samples without padding, and `teacher_input_values` (B, N), the
    teacher's audio; the model does not see them. Where the model has no loss of its own (a bare one),
    evaluation gives that of distillation.

    Attributes:
        distiller: the teacher, its taps and projections; None without distillation.
        distilled: the part that adds its losses; None without distillation. Its `clips_found` counts the
            training clips whose answer was in the teacher's cache; logs give the share of the clips since the
            last one, `teacher_cached`.
    """

    def __init__(
        self,
        *args: Any,
        distillation: DistillationConfig | None = None,
        teacher: nn.Module | str | Path | None = None,
        distiller: Distiller | None = None,
        **kwargs: Any,
    ) -> None:
        """Take Trainer's arguments and what to distil.

        Args:
            *args: of Trainer; its model may be a folder or hub name.
            distillation: the losses; None for none.
            teacher: a model, frozen in place, or its folder or hub name; None: a copy of the model as it is
                now.
            distiller: one that exists already and is attached to this model, instead of the two above.
            **kwargs: of Trainer.

        Raises:
            DistillationError: student and teacher do not fit, or a teacher without losses.
        """
        if args and args[0] is not None:
            args = (as_model(args[0], type(self).__name__), *args[1:])
        elif kwargs.get("model") is not None:
            kwargs["model"] = as_model(kwargs["model"], type(self).__name__)
        if distillation is not None and not isinstance(distillation, DistillationConfig):
            raise DistillationError(
                f"distillation: found {shown(distillation)}, wanted prune_ssl.DistillationConfig(...)."
            )
        teacher = None if teacher is None else as_model(teacher, "teacher")
        super().__init__(*args, **kwargs)
        if distillation is None and teacher is not None:
            raise DistillationError("a teacher but no losses: give distillation=DistillationConfig(...) too.")
        model = self.model
        assert isinstance(model, nn.Module)
        if distillation is not None:
            if self.args.n_gpu > 1:
                raise DistillationError("hooks do not work in DataParallel: use one process per GPU.")
            refuse_reentrant_arguments(self.args, "distillation")
            refuse_reentrant(checkpointing_layers(model), "distillation")
            teacher = copy.deepcopy(model) if teacher is None else teacher
            distiller = Distiller(distillation, teacher, model)
        self.distiller, self.distilled = distiller, None
        if distiller is not None:
            self.distilled = DistilledPart(distiller, self.args, self.label_names)
            self.add_part(self.distilled)
            if not self.label_names:
                self.can_return_loss = True  # a bare model: evaluation asks compute_loss
