"""Owns DistilledPart: the losses of a Distiller, as a part of a trainer."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from prune_ssl.distillation import Distiller
from prune_ssl.errors import DistillationError
from prune_ssl.training.manifest import naming_damage
from prune_ssl.training.part import ComputeLoss, Inputs, LossAndOutputs, ParameterGroup, Part
from prune_ssl.training.parts_trainer import NOT_FOR_THE_MODEL
from prune_ssl.writing import new_file

LEARNED = "distillation.safetensors"


class DistilledPart(Part):
    """Adds the losses of a Distiller to the model's own; projections and heads learn beside the model.

    Attributes:
        distiller: it is attached to the model.
        clips_found: training clips whose answer was in the teacher's cache so far.
    """

    def __init__(self, distiller: Distiller, args: TrainingArguments, label_names: Sequence[str]) -> None:
        self.distiller, self.args, self.label_names = distiller.to(args.device), args, label_names
        # accelerate puts autocast around the student's forward pass alone.
        distiller.half = torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None
        if args.world_size > 1:  # they were drawn at random in each process
            for value in distiller.learned.state_dict().values():
                dist.broadcast(value, 0)
        self.clips_found = 0
        self._distilled = 0  # batches of training
        # Since the last log: sums of the losses, batches, clips, and clips that the cache knew.
        self._sums: dict[str, torch.Tensor] = {}
        self._batches = self._clips = self._cached = 0

    def callbacks(self) -> Sequence[TrainerCallback]:
        """Return the callbacks that care for what is learned, and watch the cache."""
        caring: list[TrainerCallback] = [_CareForLearned(self.distiller)]
        return caring if self.distiller.cached_teacher.cache is None else [*caring, _WatchCache(self)]

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the group of projections and heads, if there are any."""
        learned = list(self.distiller.learned.parameters())
        if not learned:
            return []
        rate = self.distiller.config.learning_rate or self.args.learning_rate
        return [{"params": learned, "lr": rate, "weight_decay": 0.0}]

    def learned(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield projections and heads."""
        yield from self.distiller.learned.named_parameters(prefix="distillation")

    def compute_loss(self, model: nn.Module, inputs: Inputs, inner: ComputeLoss) -> LossAndOutputs:
        """Return task_weight * the model's own loss + the weighted losses of distillation.

        Evaluation gives the model's own loss where it has one.
        """
        distiller, bare = self.distiller, not any(name in inputs for name in self.label_names)
        if not (model.training or bare):
            return inner(inputs)
        if model.training:
            inputs = distiller.prepare(inputs)
        task, task_weight = torch.zeros((), device=self.args.device), distiller.config.task_weight
        with distiller.listening():
            if task_weight and not bare:
                task, outputs = inner(inputs)
            else:
                left_out = {*self.label_names, *NOT_FOR_THE_MODEL}
                outputs = model(**{name: value for name, value in inputs.items() if name not in left_out})
        learned = distiller.loss(inputs, outputs)
        if self.args.world_size > 1:
            learned = learned + _nothing_of(outputs)
        if model.training:
            self._count({"task": task.detach()} | distiller.parts, len(distiller.audio_of(inputs)))
        return task_weight * task + learned, outputs

    def _count(self, losses: Mapping[str, torch.Tensor], clips: int) -> None:
        self._distilled += 1
        self._sums = {name: self._sums.get(name, 0.0) + value for name, value in losses.items()}
        self._batches += 1
        self._clips += clips
        self._cached += self.distiller.cached_teacher.found
        self.clips_found += self.distiller.cached_teacher.found

    @contextmanager
    def requiring_loss(self, trainer: str) -> Iterator[None]:
        """See that the losses of distillation are in a loss that was computed inside.

        Raises:
            DistillationError: a subclass computes another loss, without them.
        """
        before = self._distilled
        yield
        if self._distilled == before:
            raise DistillationError(
                f"{trainer}.compute_loss does not call super().compute_loss(), which adds the "
                "losses of distillation, so nothing would be learned from the teacher. Call it, or give the "
                "loss of the task as compute_loss_func."
            )

    def log(self, logs: dict[str, float], step: int) -> None:
        """Add the mean of each loss since the last training log, unweighted: `loss_task`, `loss_l1`, ..."""
        if not self._batches:
            return
        logs |= {f"loss_{name}": float(total) / self._batches for name, total in self._sums.items()}
        if self.distiller.cached_teacher.cache is not None:
            logs["teacher_cached"] = self._cached / self._clips
        self._sums, self._batches, self._clips, self._cached = {}, 0, 0, 0

    def attach(self, model: nn.Module) -> None:
        """Tap the model."""
        self.distiller.attach(model)

    def detach(self) -> None:
        """Take the taps off the student."""
        self.distiller.detach()

    def save(self, folder: Path) -> None:
        """Write projections and heads into a checkpoint."""
        with new_file(folder / LEARNED) as new:
            save_file(self.distiller.learned.state_dict(), new)

    def load(self, folder: Path) -> None:
        """Read them from one.

        Raises:
            DistillationError: the checkpoint does not hold them.
            ArtifactError: the file is damaged.
        """
        if not (folder / LEARNED).is_file():
            raise DistillationError(
                f"cannot resume from {folder}: there is no {LEARNED}, so its run learned without "
                "distillation. Give a checkpoint of this run, or start anew."
            )
        with naming_damage(folder / LEARNED):
            self.distiller.learned.load_state_dict(load_file(folder / LEARNED))


class _WatchCache(TrainerCallback):
    """Says so when the teacher's cache is of no use: no clip comes back as it was."""

    def __init__(self, part: DistilledPart) -> None:
        self.part, self.epochs, self.said = part, 0, False

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Count the epochs that this process saw the end of; in the second all clips are known."""
        self.epochs += 1
        if self.epochs >= 2 and not self.part.clips_found and not self.said:
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
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Average gradients over processes: what is learned is no part of the model that they share."""
        if args.world_size > 1:
            for parameter in self.distiller.learned.parameters():
                if parameter.grad is not None:
                    dist.all_reduce(parameter.grad)
                    parameter.grad /= args.world_size

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Clear gradients: Trainer clears those of its model only, and they would add up."""
        self.distiller.learned.zero_grad()


def _nothing_of(outputs: object) -> torch.Tensor:
    """Return 0, with all outputs behind it.

    DistributedDataParallel waits for a gradient of everything that made an output; the losses may take none
    of a last norm or of a head.
    """
    values = outputs.values() if isinstance(outputs, Mapping) else outputs
    assert isinstance(values, Iterable)  # transformers' outputs are mappings, or tuples
    parts = [value.flatten()[:0].sum() for value in values if isinstance(value, torch.Tensor)]
    return torch.stack([part.float() for part in parts]).sum()
