"""A linear probe: logistic regression on the mean states of a frozen encoder, judged on validation clips."""

import csv
from dataclasses import dataclass
from pathlib import Path

import soundfile
import torch
from torch import nn
from transformers import HubertModel

from pretraining.audio import SAMPLE_RATE_HZ
from prune_ssl.writing import write_text

KEYWORDS = "arabic_commands"
DECAY = 1e-3
ITERATIONS = 60
BATCH = 64


@dataclass(frozen=True)
class Clips:
    """The clips of a split, all of one length, with their labels."""

    audio: torch.Tensor
    """Samples (B, N), each clip with mean 0 and variance 1."""
    labels: tuple[str, ...]


def read_clips(folder: Path, most: int | None = None) -> Clips:
    """Read at most so many clips of a split, evenly spread; they are cut or padded to one second."""
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    rows = rows[:: max(1, len(rows) // most)] if most else rows
    audio = torch.zeros(len(rows), SAMPLE_RATE_HZ)
    for index, row in enumerate(rows):
        samples = torch.from_numpy(soundfile.read(folder / row["file_name"], dtype="float32")[0])
        samples = samples[:SAMPLE_RATE_HZ] - samples[:SAMPLE_RATE_HZ].mean()
        audio[index, : len(samples)] = samples / (samples.var(correction=0) + 1e-7).sqrt()
    return Clips(audio, tuple(row["label"] for row in rows))


@torch.no_grad()
def mean_states(model: HubertModel, audio: torch.Tensor) -> torch.Tensor:
    """Return the mean over time of every hidden state (L + 1, B, D)."""
    model.eval()
    found = [
        torch.stack([state.mean(1) for state in model(part, output_hidden_states=True).hidden_states])
        for part in audio.split(BATCH)
    ]
    return torch.cat(found, 1)


def linear_accuracy(
    features: tuple[torch.Tensor, torch.Tensor], labels: tuple[torch.Tensor, torch.Tensor]
) -> float:
    """Return the accuracy of logistic regression on validation clips, the second of each pair.

    Args:
        features: (B, D) of training and of validation clips.
        labels: (B,) of the same.
    """
    mean, deviation = features[0].mean(0), features[0].std(0).clamp(min=1e-5)
    given, judged = ((each - mean) / deviation for each in features)
    head = nn.Linear(given.shape[1], int(labels[0].max()) + 1)
    nn.init.zeros_(head.weight)
    optimizer = torch.optim.LBFGS(head.parameters(), max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(head(given), labels[0]) + DECAY * head.weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    with torch.no_grad():
        return float((head(judged).argmax(1) == labels[1]).float().mean())


def probe(model: HubertModel, train: Clips, validation: Clips) -> list[float]:
    """Return the accuracy by layer: the input of the encoder first."""
    names = {name: place for place, name in enumerate(sorted(set(train.labels)))}
    first, second = (torch.tensor([names[name] for name in each.labels]) for each in (train, validation))
    states = (mean_states(model, train.audio), mean_states(model, validation.audio))
    return [linear_accuracy((given, judged), (first, second)) for given, judged in zip(*states, strict=True)]


def shown(accuracies: list[float]) -> str:
    """Return the accuracies of all layers in one line, and the best of them."""
    parts = " ".join(f"{100 * each:.1f}" for each in accuracies)
    return f"layers 0 to {len(accuracies) - 1}: {parts}; best {100 * max(accuracies):.1f}"


def note(path: Path, line: str) -> None:
    """Add a line to a text file."""
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    write_text(path, f"{before}{line}\n")
