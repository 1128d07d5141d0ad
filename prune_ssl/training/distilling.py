"""DistillationTrainer: a transformers.Trainer whose model also learns from a frozen teacher."""

import copy
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from prune_ssl.distillation import LENGTHS, TEACHER_AUDIO, DistillationConfig, Distiller
from prune_ssl.errors import DistillationError
from prune_ssl.models.arguments import as_model, shown
from prune_ssl.models.checkpointing import (
    checkpointing_layers,
    refuse_reentrant,
    refuse_reentrant_arguments,
)
from prune_ssl.training.manifest import told_as_damaged
from prune_ssl.training.resumable import ResumableTrainer
from prune_ssl.writing import new_file

LEARNED = "distillation.safetensors"
NOT_FOR_THE_MODEL = (LENGTHS, TEACHER_AUDIO)


class _WatchCache(TrainerCallback):
    """Says so when the teacher's cache is of no use: no clip comes back as it was."""

    def __init__(self, trainer: "DistillationTrainer") -> None:
        self.trainer, self.epochs, self.said = trainer, 0, False

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count the epochs that this process saw the end of; in the second all clips are known."""
        self.epochs += 1
        if self.epochs >= 2 and not self.trainer.clips_found and not self.said:
            self.said = True
            warnings.warn(
                f"teacher_cache: in {self.epochs} epochs no clip was found in it, so it costs time and space "
                "for nothing. The teacher must hear the same samples each time: leave augmentation and "
                "random crops out (or give it clean audio, CorruptedDataset), or leave teacher_cache out.",
                stacklevel=2,
            )


class _CareForLearned(TrainerCallback):
    """Does for projections and heads what Trainer does for its model: averages and clears gradients."""

    def __init__(self, distiller: Distiller) -> None:
        self.distiller = distiller

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Average gradients over processes: what is learned is no part of the model that they share."""
        if args.world_size > 1:
            for parameter in self.distiller.learned.parameters():
                if parameter.grad is not None:
                    dist.all_reduce(parameter.grad)
                    parameter.grad /= args.world_size

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Clear gradients: Trainer clears those of its model only, and they would add up."""
        self.distiller.learned.zero_grad()


class DistillationTrainer(ResumableTrainer):
    """A ResumableTrainer that adds the losses of a DistillationConfig to the model's own.

    The teacher, projections and heads live outside the model and are not saved with it; checkpoints hold what
    is learned in a file of its own.
    Batches may hold `input_lengths` (B,), samples without padding, and `teacher_input_values` (B, N), what
    the teacher hears instead; the model does not see them. Where the model has no loss of its own (a bare
    one), evaluation gives that of distillation.

    Attributes:
        distiller: the teacher, its taps and projections; None without distillation.
        clips_found: training clips whose answer was in the teacher's cache; logs give the share of the clips
            since the last one, `teacher_cached`.
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
        self.distiller = distiller.to(self.args.device) if distiller is not None else None
        if self.distiller is not None:
            if self.args.world_size > 1:  # they were drawn at random in each process
                for value in self.distiller.learned.state_dict().values():
                    dist.broadcast(value, 0)
            self.add_callback(_CareForLearned(self.distiller))
            if self.distiller.cached_teacher.cache is not None:
                self.add_callback(_WatchCache(self))
        self._parts: dict[str, torch.Tensor] = {}
        self._counted = self._distilled = 0
        self.clips_found = 0
        self._found, self._heard = 0, 0
        if distiller is not None and not self.label_names:
            self.can_return_loss = True  # a bare model: evaluation asks compute_loss

    def save_extra(self, folder: Path) -> None:
        """Write projections and heads into a checkpoint."""
        if self.distiller is not None:
            with new_file(folder / LEARNED) as new:
                save_file(self.distiller.learned.state_dict(), new)

    def load_extra(self, folder: Path) -> None:
        """Read them from one.

        Raises:
            DistillationError: the checkpoint does not hold them.
            ArtifactError: the file is damaged.
        """
        if self.distiller is None:
            return
        if not (folder / LEARNED).is_file():
            raise DistillationError(
                f"cannot resume from {folder}: there is no {LEARNED}, so its run learned without "
                "distillation. Give a checkpoint of this run, or start anew."
            )
        with told_as_damaged(folder / LEARNED):
            self.distiller.learned.load_state_dict(load_file(folder / LEARNED))

    def _set_signature_columns_if_needed(self) -> None:
        # Trainer drops what the model's forward does not take from every item; this is for the teacher.
        super()._set_signature_columns_if_needed()
        columns: Any = self._signature_columns
        if TEACHER_AUDIO not in columns:
            columns.append(TEACHER_AUDIO)

    def own_parameter_groups(self) -> list[dict[str, Any]]:
        """Return the group of projections and heads, if there are any."""
        learned = [] if self.distiller is None else list(self.distiller.learned.parameters())
        if not learned or self.distiller is None:
            return []
        rate = self.distiller.config.learning_rate or self.args.learning_rate
        return [{"params": learned, "lr": rate, "weight_decay": 0.0}]

    def learned_beside(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield projections and heads."""
        if self.distiller is not None:
            yield from self.distiller.learned.named_parameters(prefix="distillation")

    def whole_loss(self, compute_loss: Any, model: nn.Module, inputs: Any, **more: Any) -> Any:
        """Return what `compute_loss` does, having seen that it holds the losses of distillation.

        Raises:
            DistillationError: a subclass computes another loss, without them.
        """
        before = self._distilled
        loss = super().whole_loss(compute_loss, model, inputs, **more)
        if self.distiller is not None and self._distilled == before:
            raise DistillationError(
                f"{type(self).__name__}.compute_loss does not call super().compute_loss(), which adds the "
                "losses of distillation, so nothing would be learned from the teacher. Call it, or give the "
                "loss of the task as compute_loss_func."
            )
        return loss

    def release(self) -> None:
        """Take the taps off the student."""
        if self.distiller is not None:
            self.distiller.detach()

    def take_hold(self) -> None:
        """Tap the present model."""
        if self.distiller is not None:
            assert isinstance(self.model, nn.Module)
            self.distiller.attach(self.model)

    def compute_loss(
        self, model: nn.Module, inputs: Any, return_outputs: bool = False, *args: Any, **kwargs: Any
    ) -> Any:
        """Return task_weight * the model's own loss + the weighted losses of distillation.

        Evaluation gives the model's own loss where it has one.
        """
        distiller, bare = self.distiller, not any(name in inputs for name in self.label_names)
        if distiller is None or not (model.training or bare):
            return super().compute_loss(model, _for_the_model(inputs), return_outputs, *args, **kwargs)
        if model.training:
            inputs = distiller.prepare(inputs)
        own = _for_the_model(inputs)
        task, task_weight = torch.zeros((), device=self.args.device), distiller.config.task_weight
        with distiller.listening():
            if task_weight and not bare:
                task, outputs = super().compute_loss(model, own, True, *args, **kwargs)
            else:
                outputs = model(**{key: own[key] for key in own if key not in self.label_names})
        learned = distiller.loss(inputs, outputs)
        if self.args.world_size > 1:
            learned = learned + _nothing_of(outputs)
        if model.training:
            self._distilled += 1
            self._note({"task": task.detach()} | distiller.parts)
            self._found += distiller.cached_teacher.found
            self._heard += len(inputs["input_values"])
            self.clips_found += distiller.cached_teacher.found
        loss = task_weight * task + learned
        return (loss, outputs) if return_outputs else loss

    def _note(self, parts: Mapping[str, torch.Tensor]) -> None:
        self._parts = {name: self._parts.get(name, 0.0) + value for name, value in parts.items()}
        self._counted += 1

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Add the mean of each loss since the last training log, unweighted: `loss_task`, `loss_l1`, ..."""
        if "loss" in logs and self._counted:
            logs |= {f"loss_{name}": float(total) / self._counted for name, total in self._parts.items()}
            if self.distiller is not None and self.distiller.cached_teacher.cache is not None:
                logs["teacher_cached"] = self._found / self._heard
            self._parts, self._counted, self._found, self._heard = {}, 0, 0, 0
        super().log(logs, *args, **kwargs)


def _nothing_of(outputs: Any) -> torch.Tensor:
    """Return 0, with all outputs behind it.

    DistributedDataParallel waits for a gradient of everything that made an output; the losses may take none
    of a last norm or of a head.
    """
    values = outputs.values() if isinstance(outputs, Mapping) else outputs
    parts = [value.flatten()[:0].sum() for value in values if isinstance(value, torch.Tensor)]
    return torch.stack([part.float() for part in parts]).sum()


def _for_the_model(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in inputs.items() if key not in NOT_FOR_THE_MODEL}
