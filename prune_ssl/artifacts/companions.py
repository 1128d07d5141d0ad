"""What goes along with a pruned model: all of its source folder but weights, config and training state."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from prune_ssl.artifacts import remote_code
from prune_ssl.errors import ArtifactError
from prune_ssl.models.places import Place
from prune_ssl.writing import copy_file

MOST_BYTES = 4 * 10**9
"""A larger file stays behind; large language models are of some GB."""
MOST_FILES, MOST_DEPTH = 2_000, 4

WEIGHTS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*.bin.index.json",
    "pytorch_model*.bin",
    "model*.bin",
    "*.pt",
    "*.pth",
    "*.ckpt",
    "*.pkl",
    "*.pickle",
    "*.h5",
    "*.msgpack",
    "*.onnx",
    "*.onnx_data",
    "*.onnx.data",
    "*.ot",
    "*.gguf",
    "*.tflite",
    "*.npz",
    "*.nemo",
    "*.mlmodel",
    "*.pdparams",
)
LANGUAGE_ADAPTER = re.compile(r"adapter\.[\w-]+\.(safetensors|bin)")
"""Of MMS: they are weights that no config of the model names."""
STATE = (
    "optimizer.*",
    "scheduler.*",
    "trainer_state.json",
    "training_args.*",
    "rng_state*",
    "random_states*",
    "scaler.*",
    "*_results.json",
    "events.out.tfevents*",
    "latest",
    "zero_to_fp32.py",
    "adapter_model.*",
    "adapter_config.json",
)
OWN = ("config.json", remote_code.FILE, "pruning_plan.json", "report.*", "recipe.yaml", "README.md")
"""Of the source model alone: the new one has its own, or none."""
FOLDERS = (
    "checkpoint-*",
    "global_step*",
    "runs",
    "logs",
    "wandb",
    "mlruns",
    "__pycache__",
    "onnx",
    "openvino",
    "dense",
    "dense-training",
    "pruning",
    "distillation",
    "model",
    "model-*",
)
CARD, CARD_OF_SOURCE = "README.md", "README_source.md"
"""The source's model card is not the new model's: it goes along under another name."""
OF_TOKENIZERS = (
    "vocab.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "alphabet.json",
)
LANGUAGE_MODEL = "language_model"
"""Folder of a beam search decoder: it fits one tokenizer."""


@dataclass
class Companions:
    """Files of a source folder, relative to it, and what stays behind with the reason."""

    place: Place
    files: list[Path] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def copy_to(self, folder: Path, without: tuple[str, ...] = ()) -> None:
        """Copy the files into a folder, but those that are there already or match a pattern.

        Raises:
            ArtifactError: a file cannot be read or written.
        """
        for file in self.files:
            if any(fnmatch(file.name, each) for each in without) or file.parts[0] in without:
                continue
            target = folder / renamed(file)
            if target.exists():
                continue
            if not os.access(self.place.folder / file, os.R_OK):
                raise ArtifactError(
                    f"{self.place.folder / file} cannot be read, so it cannot go along with the new model. "
                    "Make it readable, or give companions=False."
                )
            copy_file(self.place.folder / file, target)


def renamed(file: Path) -> Path:
    """Return the name that a file goes along under."""
    return Path(CARD_OF_SOURCE) if str(file) == CARD else file


def companions_of(place: Place) -> Companions:
    """Find what goes along from a model's folder: tokenizer, processor, language model, licence, ...

    Links are followed where they stay in the folder (or, of a hub snapshot, in its repository's cache).
    """
    found = Companions(place)
    for file in _walk(place.folder, Path(), found):
        path, name = place.folder / file, str(file)
        if len(found.files) >= MOST_FILES:
            found.left_out[name] = f"only {MOST_FILES} files go along"
            break
        if _stays(file):
            continue
        if not path.is_file():
            found.left_out[name] = "not a plain file"
        elif not path.resolve().is_relative_to(place.root):
            found.left_out[name] = "a link out of the folder"
        elif path.stat().st_size > MOST_BYTES:
            found.left_out[name] = f"larger than {MOST_BYTES / 1e9:g} GB"
        elif not _is_pickle(path) or LANGUAGE_ADAPTER.fullmatch(file.name):
            found.files.append(file)
    return found


def _walk(folder: Path, inner: Path, found: Companions) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder / inner), key=lambda entry: entry.name)
    except OSError as error:
        found.left_out[str(inner)] = error.strerror or "cannot be read"
        return
    for entry in entries:
        path = inner / entry.name
        if entry.name.startswith("."):
            continue
        if not entry.is_dir():
            yield path
        elif entry.is_symlink() or len(path.parts) > MOST_DEPTH:
            found.left_out[str(path)] = "a linked folder" if entry.is_symlink() else "too deep"
        elif not any(fnmatch(entry.name, each) for each in FOLDERS) and not _is_model(folder / path):
            yield from _walk(folder, path, found)


def _is_model(folder: Path) -> bool:
    """Whether it holds another model."""
    return (folder / "config.json").is_file()


def _stays(file: Path) -> bool:
    """Whether it is weights, training state, or what the new model has of its own."""
    if LANGUAGE_ADAPTER.fullmatch(file.name) and len(file.parts) == 1:
        return False
    if file.parts[0] == LANGUAGE_MODEL and not fnmatch(file.name, "*.pkl"):
        return False
    if len(file.parts) == 1 and any(fnmatch(file.name, each) for each in OWN) and file.name != CARD:
        return True
    return any(fnmatch(file.name, each) for each in (*WEIGHTS, *STATE))


def _is_pickle(path: Path) -> bool:
    """Whether a file starts as torch's or Python's pickles do; language models may be called .bin as well."""
    if path.suffix not in (".bin", ".dat", ".data", ""):
        return False
    with path.open("rb") as opened:
        start = opened.read(4)
    return start == b"PK\x03\x04" or start[:1] == b"\x80"


def patterns_of_tokenizer(processor: object, place: Place) -> tuple[str, ...]:
    """Return what stays behind beside a processor that brings a tokenizer of its own.

    A tokenizer's files fit one another; with other tokens the source's language model does not fit either.
    """
    tokenizer = getattr(processor, "tokenizer", None) or (
        processor if hasattr(processor, "get_vocab") else None
    )
    if tokenizer is None:
        return ()
    own = _vocabulary(place.folder)
    same = own is not None and own.items() <= tokenizer.get_vocab().items()
    return OF_TOKENIZERS if same else (*OF_TOKENIZERS, LANGUAGE_MODEL)


def _vocabulary(folder: Path) -> dict[str, int] | None:
    try:
        found = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        return {str(token): int(index) for token, index in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return None
