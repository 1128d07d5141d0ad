"""ResumableTrainer: checkpoints that appear whole or not at all, and resuming that repeats every number."""

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import datasets
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset
from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import TrainOutput

from prune_ssl.data import StreamedClips
from prune_ssl.training.manifest import drop_older, find_checkpoint, naming_damage, write_manifest
from prune_ssl.training.processes import from_first, on_first, wait_for_all
from prune_ssl.training.seeded_items import PROGRESS, FollowEpoch, Placed, SeededItems
from prune_ssl.training.sharding import apart, gather_into, load_groups, save_groups, shardable
from prune_ssl.training.speech_trainer import SpeechTrainer
from prune_ssl.writing import clear_below, new_file, new_folder

OWN_GROUPS = "own_groups.safetensors"


class ResumableTrainer(SpeechTrainer):
    """A SpeechTrainer that can be killed at any moment and resumed to the same weights (on the same machine).

    Trainer alone cannot: it writes checkpoints file by file, trains a step too many from a checkpoint of the
    last step, and loads two batches before it restores the random state, so that augmented clips differ.
    """

    phase = ""
    """Of several trainings of one run, which: random changes of the clips differ between them."""
    starts_easy = True
    """Whether data with a curriculum begin it anew; a recovery goes on where that ended."""

    def load_parts(self, folder: Path) -> None:
        """Read what the parts wrote into a checkpoint; the optimiser is there, or training had ended."""
        for part in self.parts:
            part.load(folder)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train as Trainer does; `resume_from_checkpoint=True` starts anew where there is no checkpoint."""
        folder = Path(self.args.output_dir or ".")
        on_first(lambda: clear_below(folder, deep=False))
        checkpoint = from_first(lambda: find_checkpoint(folder, resume_from_checkpoint))
        if checkpoint is not None and (state := finished_state(checkpoint, self.args.max_steps)) is not None:
            self._load_from_checkpoint(str(checkpoint))
            self.state = state
            self.load_parts(checkpoint)
            return TrainOutput(state.global_step, 0.0, {})
        # An evaluation before training marks the model as prepared; accelerate would then not wrap it for
        # distributed training, and every process would train a model of its own without a word.
        vars(self.model).pop("_is_accelerate_prepared", None)
        if self.is_fsdp_enabled:
            return self._train_sharded(checkpoint, *args, **kwargs)
        return super().train(None if checkpoint is None else str(checkpoint), *args, **kwargs)

    # -- FSDP

    def _train_sharded(self, checkpoint: Path | None, *args: Any, **kwargs: Any) -> Any:
        """Train with FSDP, and leave a whole model with the weights that all processes have together."""
        model = cast(nn.Module, self.model)
        self.detach_parts()
        whole = copy.deepcopy(model).cpu()
        self.attach_parts()
        with shardable(model):
            outcome = super().train(None if checkpoint is None else str(checkpoint), *args, **kwargs)
        gather_into(whole, cast(nn.Module, self.model))
        self.detach_parts()
        self.model = self.model_wrapped = whole.to(self.args.device)
        self.attach_parts()
        return outcome

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate as Trainer does; every process evaluates the whole of a model that is not sharded yet."""
        if self.is_fsdp_enabled and not self.accelerator._models:
            # Trainer would ask accelerate to shard it, and accelerate refuses without an optimiser.
            self.accelerator._models.append(cast(nn.Module, self.model).to(self.args.device))
        return super().evaluation_loop(*args, **kwargs)

    def get_train_dataloader(self) -> DataLoader[object]:
        """Return Trainer's loader over items that are random by (seed, phase, epoch, index) alone.

        A dataset that has `training_progress` (CorruptedDataset) finds there how much of training is over.
        """
        plain = self.train_dataset
        if isinstance(plain, StreamedClips):
            # Every process reads the stream and takes its own part of each global batch. By default the first
            # one would read for all and join their batches, which fails where these are padded differently.
            self.accelerator.dataloader_config.dispatch_batches = False
            with self._training_on(plain.seeded(self.args.seed, self.phase)):
                return super().get_train_dataloader()
        if not isinstance(plain, Dataset) or isinstance(plain, IterableDataset | datasets.Dataset):
            return super().get_train_dataloader()  # their random numbers differ after resuming
        seeded = SeededItems(plain, self.args.seed, self.phase)
        with self._training_on(seeded):
            loader = super().get_train_dataloader()
        batches: Any = loader.batch_sampler
        while hasattr(batches, "batch_sampler"):
            batches = batches.batch_sampler
        sampler = getattr(batches, "sampler", None)
        self.add_callback(FollowEpoch(seeded, sampler, self.starts_easy))
        if sampler is not None and hasattr(plain, PROGRESS):
            # Innermost: what is around the sampler leaves out the indices of other processes, and those
            # before the checkpoint.
            batches.sampler = Placed(sampler)
        return loader

    @contextmanager
    def _training_on(self, items: Dataset[object]) -> Iterator[None]:
        """Make Trainer's loaders of other items, inside the context."""
        plain, self.train_dataset = self.train_dataset, items
        try:
            yield
        finally:
            self.train_dataset = plain

    def _save_checkpoint(self, model: nn.Module, trial: object) -> None:
        """Write the checkpoint beside its place, move it there, and only then drop older ones."""
        self.require_finite_state("before a checkpoint was written")
        folder, limit = Path(self.args.output_dir or "."), self.args.save_total_limit
        name = f"checkpoint-{self.state.global_step}"
        with _new_folder_for_all(folder / name) as new:
            self.args.output_dir, self.args.save_total_limit = str(new.parent), None
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self.args.output_dir, self.args.save_total_limit = str(folder), limit
            on_first(lambda: self._complete(new, folder))
        on_first(lambda: drop_older(folder, limit, self.state.best_model_checkpoint))

    def _complete(self, new: Path, folder: Path) -> None:
        """Add to a new checkpoint what Trainer leaves out, and at last the list of its files."""
        best = self.state.best_global_step
        if best:  # Trainer took it for one in the temporary folder
            self.state.best_model_checkpoint = str(folder / f"checkpoint-{best}")
            with new_file(new / TRAINER_STATE_NAME) as file:
                self.state.save_to_json(str(file))
        for part in self.parts:
            part.save(new)
        if self.is_fsdp_enabled:
            save_groups(new / OWN_GROUPS, self._optimizer(), len(self.own_parameter_groups()))
        write_manifest(new)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        with self._of_the_model_only():
            super()._save_optimizer_and_scheduler(output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        with naming_damage(Path(resume_from_checkpoint)):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with naming_damage(Path(checkpoint or "")):
            super()._load_rng_state(checkpoint)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with self._of_the_model_only(), naming_damage(Path(checkpoint or "")):
            super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        if self.is_fsdp_enabled:
            load_groups(Path(checkpoint) / OWN_GROUPS, self._optimizer(), len(self.own_parameter_groups()))
        self.load_parts(Path(checkpoint))

    def _of_the_model_only(self) -> AbstractContextManager[None]:
        """Under FSDP, leave what is learned beside the model out of the optimiser for a while."""
        if not self.is_fsdp_enabled:
            return nullcontext()
        return apart(self._optimizer(), len(self.own_parameter_groups()))

    def _optimizer(self) -> torch.optim.Optimizer:
        return cast(torch.optim.Optimizer, self.optimizer)


@contextmanager
def _new_folder_for_all(path: Path) -> Iterator[Path]:
    """Give all processes the temporary folder that the first one makes, and moves when all are done."""
    with ExitStack() as stack:
        yield from_first(lambda: stack.enter_context(new_folder(path, replace=True)))
    wait_for_all()


def finished_state(checkpoint: Path, max_steps: int = -1) -> TrainerState | None:
    """Return the state of a checkpoint of the last step (of its own run when -1), else None.

    Raises:
        ArtifactError: its file is damaged.
    """
    with naming_damage(checkpoint / TRAINER_STATE_NAME):
        state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
        last = max_steps if max_steps > 0 else state.max_steps
        return state if state.global_step >= last else None
