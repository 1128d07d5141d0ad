"""Data that is learnable in a few steps, and trainers that are quiet."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import TrainerCallback, TrainingArguments

from prune_ssl import DistillationTrainer, PruningConfig, PruningTrainer
from prune_ssl.tasks import ClipJudge, Outcomes
from tests.support.models import tiny_model


def quiet_arguments(folder: Path, **more: Any) -> TrainingArguments:
    """Training on the CPU that writes and prints nothing."""
    return TrainingArguments(
        output_dir=str(folder),
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        logging_strategy="no",
        dataloader_pin_memory=False,
        **more,
    )


class Tones(Dataset):
    """Two classes of noise that differ in pitch: learnable in a few steps."""

    def __init__(self, count):
        generator = torch.Generator().manual_seed(count)
        time = torch.arange(4000) / 16_000
        self.items = []
        for index in range(count):
            pitch = 300.0 if index % 2 else 1500.0
            wave = torch.sin(2 * torch.pi * pitch * time) + 0.1 * torch.randn(4000, generator=generator)
            self.items.append({"input_values": wave, "labels": torch.tensor(index % 2)})

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def arguments(folder, **more):
    settings = {
        "output_dir": str(folder),
        "max_steps": 12,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "logging_steps": 3,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
    }
    return TrainingArguments(**(settings | more))


def judged(prediction):
    hits = np.asarray(prediction.predictions).argmax(-1) == prediction.label_ids
    return {"accuracy": float(hits.mean())}, Outcomes("accuracy", tuple(hits.astype(int).tolist()))


def make_trainer(folder, model=None, pruning=None, **more):
    return PruningTrainer(
        model=model or tiny_model(num_labels=2),
        args=arguments(folder, **more),
        pruning=pruning or PruningConfig(budget="macs=60%", seconds=1.0, round_to=1, recovery=0.5),
        train_dataset=Tones(16),
        eval_dataset=Tones(6),
        compute_metrics=ClipJudge(judged),
    )


class Unlabelled(Tones):
    def __getitem__(self, index):
        return {"input_values": self.items[index]["input_values"]}


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.step


class Jittered(Tones):
    """Items that every generator of random numbers has changed."""

    def __getitem__(self, index):
        item = dict(self.items[index])
        noise = 0.1 * torch.randn(()) + 0.1 * random.random() + 0.1 * float(np.random.rand())
        return item | {"input_values": item["input_values"] * (1 + noise)}


class Listening(DistillationTrainer):
    """Notes the progress that the items of each batch were told, and them, in the process that trains."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.progress, self.heard = [], []

    def compute_loss(self, model, inputs, *args, **kwargs):
        self.progress.append(inputs["teacher_input_values"][:, 0].tolist())
        self.heard.append(inputs["input_values"])
        return super().compute_loss(model, inputs, *args, **kwargs)
