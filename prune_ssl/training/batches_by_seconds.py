"""Batches of about the same amount of audio instead of the same number of clips, padding counted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Sampler
from transformers import TrainingArguments

from prune_ssl.data import SAMPLE_RATE_HZ
from prune_ssl.errors import PruneError


@dataclass
class SpeechArguments(TrainingArguments):
    """TrainingArguments, and how much audio a batch of training holds."""

    batch_seconds: float | None = None
    """Padded seconds, in the place of `per_device_train_batch_size`; None: that."""


class Order(Sampler[int]):
    """The numbers of the batches, in an order made from (seed, epoch) alone."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed, self.epoch = count, seed, 0

    def __len__(self) -> int:
        return self.count

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes next; the trainer calls it."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return iter(torch.randperm(self.count, generator=generator).tolist())


Place = int | tuple[int, float]
"""An index, or an index with the part of the epoch that is over when it comes (`Placed`)."""


class BatchesBySeconds(Sampler[list[Place]]):
    """Batches of clips of like length whose padded audio is at most so many seconds.

    Which clips are together is drawn once, so that every epoch has the same number of batches (Trainer counts
    epochs and finds the place to resume by it); the order of the batches is new in each. fairseq does so too.

    Attributes:
        sampler: the order; what it yields may come as `(number, place in the epoch)`, which then goes on to
            the indices of the clips.

    Raises:
        PruneError: the longest clip is longer than a batch.
    """

    def __init__(self, lengths: Sequence[int], seconds: float, seed: int) -> None:
        self.batches = batches_of(lengths, round(seconds * SAMPLE_RATE_HZ), seed)
        self.sampler: Sampler[Place] = Order(len(self.batches), seed)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Place]]:
        for each in self.sampler:
            if isinstance(each, tuple):
                yield [(index, each[1]) for index in self.batches[each[0]]]
            else:
                yield [*self.batches[each]]


def batches_of(lengths: Sequence[int], samples: int, seed: int) -> list[list[int]]:
    """Return batches of indices, each of at most `samples` when padded to its longest clip.

    Raises:
        PruneError: the longest clip is longer than that.
    """
    if max(lengths) > samples:
        raise PruneError(
            f"batch_seconds: the longest clip has {max(lengths) / SAMPLE_RATE_HZ:g} s, more than a batch of "
            f"{samples / SAMPLE_RATE_HZ:g} s: wanted larger batches, or shorter clips."
        )
    # Shuffled first, so that clips of the same length are not together by their place in the corpus.
    shuffled = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(seed)).tolist()
    batches: list[list[int]] = []
    for index in sorted(shuffled, key=lambda index: lengths[index]):
        # The newest clip is the longest.
        if batches and lengths[index] * (len(batches[-1]) + 1) <= samples:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
