"""The companions of a model: all files of its source folder except weights, config and training state."""

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
"""A larger file is not copied. Large language models have some GB."""
MOST_FILES, MOST_DEPTH = 2_000, 4
"""At most so many files are copied, from folders of at most this depth."""

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
"""Adapters of MMS: weights that the model's config does not name, so they are copied."""
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
"""Files that hold only for the source model. The new model has its own, or none."""
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
    "control",
    "pruning",
    "distillation",
    "model",
    "model-*",
)
CARD, CARD_OF_SOURCE = "README.md", "README_source.md"
"""The model card of the source is copied under another name, because the new model has its own."""
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
"""The folder of a beam search decoder, which fits one tokenizer only."""


@dataclass
class Companions:
    """The files of a source folder to copy, and the files left out with their reasons."""

    place: Place
    """The source folder."""
    files: list[Path] = field(default_factory=list)
    """The files to copy, relative to the source folder."""
    left_out: dict[str, str] = field(default_factory=dict)
    """The reason for each file or folder that is left out."""

    def copy_to(self, folder: Path, without: tuple[str, ...] = ()) -> None:
        """Copy the files into a folder, except those that exist there or match a pattern of `without`.

        Raises:
            ArtifactError: a file cannot be read or written.
        """
        for file in self.files:
            if any(fnmatch(file.name, each) for each in without) or file.parts[0] in without:
                continue
            target = folder / new_name(file)
            if target.exists():
                continue
            if not os.access(self.place.folder / file, os.R_OK):
                raise ArtifactError(
                    f"{self.place.folder / file} cannot be read, so it cannot be copied to the new model. "
                    "Make the file readable, or give companions=False."
                )
            copy_file(self.place.folder / file, target)


def new_name(file: Path) -> Path:
    """Return the name of a file in the new folder.

    >>> new_name(Path("README.md")), new_name(Path("vocab.json"))
    (PosixPath('README_source.md'), PosixPath('vocab.json'))
    """
    return Path(CARD_OF_SOURCE) if str(file) == CARD else file


def companions_of(place: Place) -> Companions:
    """List the files of a model's folder to copy: tokenizer, processor, language model, licence and others.

    Links are followed if they stay in the folder (or, in a hub snapshot, in the cache of its repository).
    """
    found = Companions(place)
    for file in _walk(place.folder, Path(), found):
        path, name = place.folder / file, str(file)
        if len(found.files) >= MOST_FILES:
            found.left_out[name] = f"only {MOST_FILES} files are copied"
            break
        if _belongs_to_source(file):
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
    """Return whether a folder holds another model."""
    return (folder / "config.json").is_file()


def _belongs_to_source(file: Path) -> bool:
    """Return whether a file holds weights or training state, or is a file that the new model makes itself."""
    if LANGUAGE_ADAPTER.fullmatch(file.name) and len(file.parts) == 1:
        return False
    if file.parts[0] == LANGUAGE_MODEL and not fnmatch(file.name, "*.pkl"):
        return False
    if len(file.parts) == 1 and any(fnmatch(file.name, each) for each in OWN) and file.name != CARD:
        return True
    return any(fnmatch(file.name, each) for each in (*WEIGHTS, *STATE))


def _is_pickle(path: Path) -> bool:
    """Return whether a file starts like a pickle of torch or Python. A language model may be a .bin too."""
    if path.suffix not in (".bin", ".dat", ".data", ""):
        return False
    with path.open("rb") as opened:
        start = opened.read(4)
    return start == b"PK\x03\x04" or start[:1] == b"\x80"


def patterns_of_tokenizer(processor: object, place: Place) -> tuple[str, ...]:
    """Return the patterns of files that are not copied because the given processor has its own tokenizer.

    The files of two tokenizers must not be mixed. If the tokens differ, the source's language model does not
    fit either.
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
