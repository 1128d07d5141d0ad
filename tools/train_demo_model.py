"""Owns the making of the shipped demo model: a small HuBERT-shaped classifier of the synthetic words.

Run as `python -m tools.train_demo_model`. It lets the training voices say more than the
repository ships (so it needs `espeakng-loader`), trains from scratch with transformers.Trainer on the CPU,
and writes the model as float16.
"""

import argparse
import csv
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import torch
from torch.utils.data import Dataset
from transformers import (
    EvalPrediction,
    HubertConfig,
    HubertForSequenceClassification,
    Trainer,
    TrainingArguments,
    Wav2Vec2FeatureExtractor,
    set_seed,
)

from prune_ssl.assets import DEMO_MODEL_DIR, LABELS, SAMPLE_RATE_HZ, WORDS_DIR
from prune_ssl.errors import DataError
from prune_ssl.writing import new_folder, temporary_folder, write_text
from tools.make_words import synthesise

FloatArray = npt.NDArray[np.float32]

WORDS_SEED = 0
"""The seed of the shipped words. Other seeds give the training voices other accents, pitches and speeds."""

CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: audio-classification
---

# Demo word classifier

A small HuBERT-shaped `HubertForSequenceClassification` ({params:,} parameters, float16) that tells
{n_labels} synthetic spoken words apart: {labels}.
It exists so that prune_ssl can be tried and tested offline; it is the dense model that the demo prunes.

Shape: {n_conv} conv layers of {conv_dim} channels (HuBERT Base's kernels and strides, GroupNorm), hidden size
{hidden}, {n_layers} post-norm layers of {heads} heads of {head_dim} and {ffn} feed-forward neurons.

## Training
From scratch, with no pretraining, by `python -m tools.train_demo_model` (seed {seed}):
{clips:,} clips of the {speakers} training voices (in more accents, pitches and speeds than are shipped),
{steps} steps of {batch} clips with AdamW at {lr:g}, random speed, equaliser, shift and noise.
It took {minutes:.0f} minutes on {threads} threads of a busy CPU.

## Measured
| split of the shipped words | clips | accuracy |
|---|---|---|
| validation (speakers not in training) | {n_validation} | {acc_validation:.1%} |
| test (speakers not in training) | {n_test} | {acc_test:.1%} |

Measured with the saved float16 weights read as float32.

## Use
Input: 16 kHz mono, zero mean and unit variance for each clip (`preprocessor_config.json`), no attention mask.
Load it with `HubertForSequenceClassification.from_pretrained(folder, dtype=torch.float32)`.
For demonstration and tests only: it has heard nothing but synthetic voices; expect little on real speech.

## Licence
Apache-2.0, as the repository that made it.
"""


def make_config() -> HubertConfig:
    """The shape of the demo model: HuBERT Base with every width cut down, and no dropout or masking."""
    return HubertConfig(
        vocab_size=32,
        conv_dim=(64,) * 7,
        feat_extract_norm="group",
        conv_bias=False,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=8,
        intermediate_size=512,
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=8,
        classifier_proj_size=128,
        layerdrop=0.0,
        hidden_dropout=0.0,
        activation_dropout=0.0,
        attention_dropout=0.0,
        feat_proj_dropout=0.0,
        final_dropout=0.0,
        apply_spec_augment=False,
        mask_time_prob=0.0,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
    )


def make_extractor() -> Wav2Vec2FeatureExtractor:
    """The demo model's input: 16 kHz, each clip of zero mean and unit variance, no attention mask."""
    return Wav2Vec2FeatureExtractor(
        feature_size=1,
        sampling_rate=SAMPLE_RATE_HZ,
        padding_value=0.0,
        do_normalize=True,
        return_attention_mask=False,
    )


def read_rows(split: str) -> list[dict[str, str]]:
    """The rows of one shipped split's metadata.csv.

    Raises:
        DataError: the words have not been made.
    """
    metadata = WORDS_DIR / split / "metadata.csv"
    if not metadata.is_file():
        raise DataError(f"no {metadata}; make the words first: python -m tools.make_words")
    with metadata.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_split(split: str) -> list[tuple[FloatArray, int]]:
    """The shipped clips of one split: samples (N,) at 16 kHz and class index, in metadata.csv's order."""
    return [
        (
            soundfile.read(WORDS_DIR / split / row["file_name"], dtype="float32")[0],
            LABELS.index(row["label"]),
        )
        for row in read_rows(split)
    ]


class WordClips(Dataset[dict[str, Any]]):
    """Clips as Trainer wants them; with `augment`, each reading is another variation."""

    def __init__(self, clips: Sequence[tuple[FloatArray, int]], *, augment: bool = False) -> None:
        self._clips = clips
        self._augment = augment

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        samples, label = self._clips[index]
        return {"samples": augment(samples) if self._augment else samples, "labels": label}


def augment(samples: FloatArray) -> FloatArray:
    """Make another speaker, channel and place of a clip. (N,) to (N',); draws from numpy's seeded generator.

    Reading the clip at 0.85 to 1.18 times its speed moves pitch and formants, as another vocal tract does; a
    random smooth equaliser of +-6 dB is another microphone; up to 40 ms are added or cut at the start; and
    white noise comes 15 to 45 dB down. A gain would change nothing: the model's input is normalised.
    """
    speed = np.exp(np.random.uniform(np.log(0.85), np.log(1.18)))
    clip = np.interp(np.arange(0, len(samples) - 1, speed), np.arange(len(samples)), samples)
    n_bins = len(clip) // 2 + 1
    gain_db = np.interp(np.linspace(0, 1, n_bins), np.linspace(0, 1, 6), np.random.uniform(-6, 6, 6))
    clip = np.fft.irfft(np.fft.rfft(clip) * 10 ** (gain_db / 20), len(clip))
    shift = np.random.randint(-640, 641)
    clip = clip[-shift:] if shift < 0 else np.concatenate([np.zeros(shift), clip])
    noise = np.random.standard_normal(len(clip)) * clip.std() * 10 ** (-np.random.uniform(15, 45) / 20)
    return np.asarray(clip + noise, dtype=np.float32)


@dataclass(frozen=True)
class Collator:
    """Puts clips into one batch: input_values (B, N) and labels (B,)."""

    extractor: Wav2Vec2FeatureExtractor

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Normalise each clip, and pad to the longest."""
        batch = self.extractor(
            [item["samples"] for item in items],
            sampling_rate=SAMPLE_RATE_HZ,
            padding="longest",
            return_tensors="pt",
        )
        labels = torch.tensor([item["labels"] for item in items])
        return {"input_values": batch["input_values"], "labels": labels}


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    """Share of clips whose highest logit is the right word."""
    chosen = np.asarray(prediction.predictions).argmax(axis=-1)
    return {"accuracy": float((chosen == prediction.label_ids).mean())}


def make_trainer(
    model: HubertForSequenceClassification,
    train: Sequence[tuple[FloatArray, int]],
    validation: Sequence[tuple[FloatArray, int]],
    arguments: argparse.Namespace,
    folder: Path,
) -> Trainer:
    """A Trainer on the CPU with warm-up and a cosine schedule, logging often enough to see it take off."""
    return Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder),
            use_cpu=True,
            max_steps=arguments.steps,
            per_device_train_batch_size=arguments.batch,
            per_device_eval_batch_size=64,
            learning_rate=arguments.lr,
            lr_scheduler_type="cosine",
            warmup_steps=arguments.steps // 10,
            weight_decay=0.01,
            adam_beta2=0.98,
            logging_steps=25,
            eval_strategy="steps",
            eval_steps=200,
            save_strategy="no",
            report_to="none",
            remove_unused_columns=False,
            dataloader_pin_memory=False,
            seed=arguments.seed,
        ),
        train_dataset=WordClips(train, augment=True),
        eval_dataset=WordClips(validation),
        data_collator=Collator(make_extractor()),
        compute_metrics=accuracy,
    )


def save_float16(model: HubertForSequenceClassification, folder: Path) -> HubertForSequenceClassification:
    """Write the model's folder with float16 weights, replacing what is there. Returns what a reader loads."""
    with new_folder(folder, replace=True) as new:
        model.half().save_pretrained(new)
        make_extractor().save_pretrained(new)
    return HubertForSequenceClassification.from_pretrained(folder, dtype=torch.float32)


def write_card(
    folder: Path,
    config: HubertConfig,
    accuracies: dict[str, float],
    arguments: argparse.Namespace,
    minutes: float,
) -> None:
    """Write the model's README.md: what it is, how it was trained, and the accuracies measured (0 to 1)."""
    shipped = {split: read_rows(split) for split in ("train", "validation", "test")}
    speakers = {row["speaker"] for row in shipped["train"]}
    card = CARD.format(
        params=HubertForSequenceClassification(config).num_parameters(),
        n_labels=len(LABELS),
        labels=", ".join(LABELS),
        n_conv=len(config.conv_dim),
        conv_dim=config.conv_dim[0],
        hidden=config.hidden_size,
        n_layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        head_dim=config.hidden_size // config.num_attention_heads,
        ffn=config.intermediate_size,
        seed=arguments.seed,
        clips=len(shipped["train"]) * (1 + arguments.extra_sets),
        speakers=len(speakers),
        steps=arguments.steps,
        batch=arguments.batch,
        lr=arguments.lr,
        minutes=minutes,
        threads=arguments.threads,
        n_validation=len(shipped["validation"]),
        n_test=len(shipped["test"]),
        acc_validation=accuracies["validation"],
        acc_test=accuracies["test"],
    )
    write_text(folder / "README.md", card)


def train_model(arguments: argparse.Namespace) -> dict[str, float]:
    """Train, save, measure it on the unseen speakers, write the card. Returns accuracies."""
    torch.set_num_threads(arguments.threads)
    set_seed(arguments.seed)
    train = read_split("train")
    for seed in range(WORDS_SEED + 1, WORDS_SEED + 1 + arguments.extra_sets):
        train += [(clip.samples, LABELS.index(clip.label)) for clip in synthesise("train", range(1), seed)]
    splits = {"validation": read_split("validation"), "test": read_split("test")}
    model = HubertForSequenceClassification(make_config())
    with temporary_folder() as scratch:
        started = time.monotonic()
        make_trainer(model, train, splits["validation"], arguments, scratch).train()
        minutes = (time.monotonic() - started) / 60
        saved = save_float16(model, arguments.folder)
        judge = make_trainer(saved, train, splits["validation"], arguments, scratch)
        accuracies = {
            split: float(judge.evaluate(WordClips(clips))["eval_accuracy"]) for split, clips in splits.items()
        }
    write_card(arguments.folder, saved.config, accuracies, arguments, minutes)
    return accuracies


def main() -> None:
    """Train the demo model, and print its accuracy and what it weighs."""
    parser = argparse.ArgumentParser(description="Train the demo model that prune_ssl ships.")
    parser.add_argument(
        "--folder", type=Path, default=DEMO_MODEL_DIR, help="where to write, replacing what is there"
    )
    parser.add_argument("--steps", type=int, default=3600)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument(
        "--extra-sets", type=int, default=11, help="training sets spoken beside the shipped one"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    accuracies = train_model(arguments)
    size_bytes = (arguments.folder / "model.safetensors").stat().st_size
    print(f"accuracy {accuracies}; {size_bytes:,} bytes of weights, in {arguments.folder}")


if __name__ == "__main__":
    main()
