"""The training of one round: batches by step, a limit in minutes, and checkpoints from which it goes on."""

import time
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import HubertConfig, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pretraining.audio import SAMPLE_RATE_HZ, Store
from pretraining.model import HOP, MaskedPrediction, frames_of
from prune_ssl.training import ResumableTrainer

NEIGHBOURS = 400
"""The clips of a batch are drawn from so many that are as long as the first or a little longer."""
MASK_STARTS = 0.08
"""The share of frames at which a masked span starts (HuBERT's)."""
MASK_FRAMES = 10


@dataclass(frozen=True)
class Schedule:
    """The length and the rate of a round."""

    steps: int
    learning_rate: float = 1e-3
    warmup: float = 0.05
    batch_seconds: float = 32.0
    crop_seconds: float = 4.0
    minutes: float | None = None
    """After so many minutes the run saves a checkpoint and ends. None: it has no limit."""
    checkpoint_minutes: float = 4.0
    seed: int = 0
    bf16: bool = False


class Batches(Dataset[dict[str, torch.Tensor]]):
    """A batch for each step, the same whenever it is asked for.

    All clips of a batch are cut to the length of the shortest, so that nothing is padded. The first clip is
    drawn by its length: each second of audio is as likely as any other.
    """

    def __init__(self, store: Store, targets: Path, config: HubertConfig, schedule: Schedule) -> None:
        self.store, self.config, self.schedule = store, config, schedule
        counts = [frames_of(piece.length, config) for piece in store.pieces]
        self.places = np.concatenate([[0], np.cumsum(counts)])
        self.targets = np.memmap(targets, dtype=np.int16, mode="r")
        if len(self.targets) != self.places[-1]:
            raise ValueError(f"{targets}: found {len(self.targets)} frames, wanted {self.places[-1]}")
        self.order = sorted(range(len(store.pieces)), key=lambda index: store.pieces[index].length)
        self.lengths_in_order = [store.pieces[index].length for index in self.order]
        total = np.cumsum(self.lengths_in_order, dtype=np.float64)
        self.shares = total / total[-1]

    def __len__(self) -> int:
        return self.schedule.steps

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        random = np.random.default_rng((self.schedule.seed, step))
        first = int(np.searchsorted(self.shares, random.random()))
        most = int(self.schedule.crop_seconds * SAMPLE_RATE_HZ)
        length = min(self.lengths_in_order[first], most)
        count = max(2, round(self.schedule.batch_seconds * SAMPLE_RATE_HZ / length))
        # All clips that are longer than a crop are neighbours.
        lowest = bisect_left(self.lengths_in_order, length)
        highest = len(self.order) if length == most else min(lowest + NEIGHBOURS, len(self.order))
        others = random.integers(lowest, highest, size=count - 1)
        items = [self._piece(self.order[place], length, random) for place in (first, *others)]
        audio, labels = (torch.from_numpy(np.stack(each)) for each in zip(*items, strict=True))
        masked = np.stack([span_mask(labels.shape[1], random) for _ in items])
        return {
            "input_values": audio,
            "labels": labels.long(),
            "mask_time_indices": torch.from_numpy(masked),
        }

    def _piece(self, index: int, length: int, random: np.random.Generator) -> tuple[Any, Any]:
        """Return samples (N,) and clusters (T,) of a random piece of a clip that begins at a frame."""
        start = int(random.integers((self.store.pieces[index].length - length) // HOP + 1))
        place = int(self.places[index]) + start
        frames = frames_of(length, self.config)
        audio = self.store.clip(index)[start * HOP : start * HOP + length]
        return audio, np.asarray(self.targets[place : place + frames])


def span_mask(frames: int, random: np.random.Generator) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return whether each frame (T,) is masked: spans that may overlap, at least one."""
    length = min(MASK_FRAMES, max(1, frames // 2))
    starts = random.random(frames) < MASK_STARTS
    starts[random.integers(max(1, frames - length))] = True
    masked = np.zeros(frames, dtype=bool)
    for start in np.flatnonzero(starts):
        masked[start : start + length] = True
    if masked.all():
        masked[random.integers(frames)] = False
    return masked


class Clock(TrainerCallback):
    """Saves a checkpoint every few minutes, and ends the run when its minutes are over."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule, self.begun, self.saved = schedule, time.monotonic(), time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        now, minutes = time.monotonic(), self.schedule.minutes
        over = minutes is not None and now - self.begun > 60 * minutes
        if over or now - self.saved > 60 * self.schedule.checkpoint_minutes:
            control.should_save, self.saved = True, now
        control.should_training_stop = control.should_training_stop or over


def train(model: MaskedPrediction, batches: Batches, folder: Path) -> list[dict[str, float]]:
    """Train a model in place from the newest checkpoint of `folder`, or from the start.

    Returns:
        The log: losses by step.
    """
    schedule = batches.schedule
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=schedule.steps,
        learning_rate=schedule.learning_rate,
        warmup_steps=schedule.warmup,
        lr_scheduler_type="linear",
        adam_beta2=0.98,
        weight_decay=0.01,
        per_device_train_batch_size=1,  # an item is a whole batch
        logging_steps=min(50, schedule.steps),
        save_strategy="no",  # by the clock
        save_total_limit=2,
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
        bf16=schedule.bf16,
        use_cpu=not torch.cuda.is_available(),
        seed=schedule.seed,
    )
    trainer = ResumableTrainer(
        model=model,
        args=arguments,
        train_dataset=batches,
        data_collator=lambda items: items[0],
        callbacks=[Clock(schedule)],
    )
    trainer.train(resume_from_checkpoint=True)
    return [each for each in trainer.state.log_history if "loss" in each]
