"""SpeechTrainer: what every training of a speech model needs beyond transformers.Trainer."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler
from transformers import PreTrainedModel
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import seed_worker

from prune_ssl.errors import PruneError
from prune_ssl.tasks.verification import pools_padding
from prune_ssl.training.batches_by_seconds import BatchesBySeconds
from prune_ssl.training.finite import FiniteTrainer


class SeededByLength(LengthGroupedSampler):
    """Clips of like length together, in an order made from (seed, epoch) alone.

    Transformers' order depends on all that was drawn at random before: an epoch that is resumed in its middle
    would hear some clips twice and others never.
    """

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next; accelerate calls it."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return super().__iter__()  # type: ignore[no-any-return,no-untyped-call]


class SpeechTrainer(FiniteTrainer):
    """A `transformers.Trainer` for models that take waveforms; it stops where a number is not finite.

    The loss is averaged over gradient accumulation steps; `train_sampling_strategy="group_by_length"` takes
    the lengths that the dataset knows (`ClipDataset.lengths`), where Trainer would decode every clip.
    `SpeechArguments(batch_seconds=...)` makes batches by length of audio instead of by count. Models whose
    embedding of a clip depends on its batch (`pools_padding`) are judged on one clip at a time.
    """

    # Also with a compute_loss_func, of which Trainer supposes that it divides by all items of the step.
    loss_is_scaled_for_ga = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # These models take **kwargs in forward but do not use num_items_in_batch: without this the loss would
        # not be divided over gradient accumulation steps.
        self.model_accepts_loss_kwargs = False
        # Judged alone, a clip is embedded as it is after training.
        if isinstance(self.model, PreTrainedModel) and pools_padding(self.model):
            self.args.per_device_eval_batch_size = 1

    def _get_train_sampler(self, train_dataset: Dataset[object] | None = None) -> Sampler[object] | None:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        lengths = getattr(dataset, "lengths", None)
        if lengths is None or self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return SeededByLength(batch, lengths, self.args.seed)

    def _get_eval_sampler(self, eval_dataset: Dataset[object]) -> Sampler[object] | None:
        # Trainer would reorder what is judged as well; `Task.judge` relies on the order of the dataset.
        if self.args.train_sampling_strategy == "group_by_length":
            return SequentialSampler(eval_dataset)  # type: ignore[arg-type]
        return super()._get_eval_sampler(eval_dataset)

    def get_train_dataloader(self) -> DataLoader[object]:
        """Return Trainer's loader, or one of batches by seconds.

        Raises:
            PruneError: batches by seconds of a dataset that knows no lengths, on several processes, or
                shorter than a clip.
        """
        seconds = getattr(self.args, "batch_seconds", None)
        if seconds is None:
            return super().get_train_dataloader()
        dataset: Any = self.train_dataset
        lengths = getattr(dataset, "lengths", None)
        if lengths is None or self.args.world_size > 1 or self.args.n_gpu > 1:
            raise PruneError(
                "batch_seconds wants a dataset that knows the `lengths` of its clips, and one process on at "
                "most one GPU: leave it out and give a batch size."
            )
        args = self.args
        loader: DataLoader[object] = DataLoader(
            dataset,
            batch_sampler=BatchesBySeconds(lengths, seconds, args.seed),
            collate_fn=self._get_collator_with_removed_columns(self.data_collator, description="Training"),
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            persistent_workers=args.dataloader_persistent_workers,
            prefetch_factor=args.dataloader_prefetch_factor,
            worker_init_fn=partial(
                seed_worker, num_workers=args.dataloader_num_workers, rank=args.process_index
            ),
        )
        return self.accelerator.prepare(loader)  # type: ignore[no-any-return]
