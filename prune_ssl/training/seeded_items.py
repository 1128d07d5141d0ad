"""Owns training items that are random by (seed, phase, epoch, index) alone, so that resuming repeats them."""

from collections.abc import Iterator, Sized
from contextlib import contextmanager
from math import ceil
from typing import Any, Protocol

import torch
from torch.utils.data import Dataset, Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from prune_ssl.data.seeding import phase_key, random_by
from prune_ssl.training.step_clips import CLIPS

PROGRESS = "training_progress"
"""Datasets with this attribute find there how much of training is over, from 0 to 1."""


class SeededItems(Dataset[object]):
    """A dataset whose items see random states made from (seed, phase, epoch, index) alone.

    Each phase has a stream of its own: a recovery that heard the clips changed just as gate training heard
    them would learn from nothing new. An index may come with its place in the epoch (`Placed`): items that
    depend on how much of training is over are told by that, as what a step counter says depends on how far
    workers have read ahead, and on whether the run was resumed.

    Attributes:
        epoch: the epoch that runs.
        epochs: how many there are, whole or not; None: training is over, or has not begun.
    """

    def __init__(self, items: Any, seed: int, phase: str = "") -> None:
        self.items, self.seed = items, seed
        self.key = phase_key(phase)
        self.epoch = torch.zeros((), dtype=torch.long)
        self.epoch.share_memory_()  # workers see it change
        self.epochs: float | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __getattr__(self, name: str) -> Any:
        if name == "items":
            raise AttributeError(name)  # while unpickling
        return getattr(self.items, name)

    def __getitem__(self, index: int | tuple[int, float]) -> object:
        index, place = index if isinstance(index, tuple) else (index, 0.0)
        with self._telling(place):
            return self._drawn(index)

    @contextmanager
    def _telling(self, place: float) -> Iterator[None]:
        """Let items that ask for it know how much of training is over."""
        if not hasattr(self.items, PROGRESS):
            yield
            return
        before = getattr(self.items, PROGRESS)
        over = 1.0 if self.epochs is None else min((int(self.epoch) + place) / self.epochs, 1.0)
        setattr(self.items, PROGRESS, over)
        try:
            yield
        finally:
            setattr(self.items, PROGRESS, before)

    def _drawn(self, index: int) -> object:
        with random_by([self.seed, int(self.epoch), int(index)], self.key):
            item = self.items[index]
        return {**item, CLIPS: int(index)} if isinstance(item, dict) else item


class Indices(Protocol):
    """A sampler that knows its length."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[int]: ...


class Placed(Sampler[tuple[int, float]]):
    """The indices of a sampler, each with the part of the epoch that is over when it comes."""

    def __init__(self, indices: Indices) -> None:
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[tuple[int, float]]:
        count = len(self.indices)
        for place, index in enumerate(self.indices):
            yield index, place / count

    def __getattr__(self, name: str) -> Any:
        if name == "indices":
            raise AttributeError(name)  # while unpickling
        return getattr(self.indices, name)  # accelerate sets the epoch of some


class FollowEpoch(TrainerCallback):
    """Tells the items how many epochs there are, and which begins, and the sampler the latter too.

    Accelerate does not reach the sampler of several processes in an epoch that was resumed in its middle.
    """

    def __init__(self, items: SeededItems, sampler: object, starts_easy: bool) -> None:
        self.items, self.sampler, self.starts_easy = items, sampler, starts_easy

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Tell the items how many epochs there are."""
        if self.starts_easy:
            loader = kwargs["train_dataloader"]
            assert isinstance(loader, Sized)
            steps = ceil(len(loader) / args.gradient_accumulation_steps)
            self.items.epochs = state.max_steps / steps

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Tell the items that training is over."""
        self.items.epochs = None

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Tell the items and the sampler which epoch begins."""
        epoch = int((state.epoch or 0) + 1e-6)
        self.items.epoch.fill_(epoch)
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)
