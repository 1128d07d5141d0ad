"""Reads the headers of the files with a model's weights: the names, shapes and dtypes of the tensors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from prune_ssl.errors import ModelError
from prune_ssl.models.seals import require_unbroken

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
PICKLED_INDEX, PICKLED = "pytorch_model.bin.index.json", "pytorch_model.bin"
OTHERS = {
    "tf_model.h5": "TensorFlow",
    "flax_model.msgpack": "Flax",
    "model.onnx": "ONNX",
    "adapter_model.safetensors": "a PEFT adapter",
    "adapter_model.bin": "a PEFT adapter",
}
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,  # a batch norm counts its batches
    "I32": torch.int32,
    "BOOL": torch.bool,
}
LFS_POINTER = b"version https://git-lfs"
ALLOW = (
    "write it as safetensors (transformers' save_pretrained does), or, if you trust its author, give "
    "--allow-pickle (in a recipe model.allow_pickle: true, in Python load_model(..., allow_pickle=True))"
)


@dataclass(frozen=True)
class Stored:
    """The tensors in the files of a folder, as the headers say; no weight is read."""

    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, torch.dtype]
    pickled: bool = False


def read_headers(folder: Path, allow_pickle: bool = False) -> Stored:
    """Read the headers of the weights in a folder, and check the files against their seals.

    Safetensors are preferred to pickles.

    Args:
        folder: the folder of a model.
        allow_pickle: whether pytorch_model.bin may be read (tensors only: nothing in it is run).

    Raises:
        ModelError: there are no weights, or only pickles that are not allowed, or a file is damaged.
    """
    for index, single, pickled in ((INDEX, SINGLE, False), (PICKLED_INDEX, PICKLED, True)):
        if not (folder / single).exists() and not (folder / index).exists():
            continue
        if pickled and not allow_pickle:
            raise ModelError(
                f"{folder} has its weights in {PICKLED} only, which is a pickle (it can run code when it is "
                f"opened carelessly), wanted {SINGLE}: {ALLOW}."
            )
        files = [folder / single] if (folder / single).exists() else _shards(folder / index)
        stored = _of_files(files, pickled)
        if not pickled:
            require_unbroken(folder, files)
        return stored
    raise ModelError(f"{folder} has no {SINGLE}: {_what_is_there(folder)}")


def _what_is_there(folder: Path) -> str:
    names = sorted(each.name for each in folder.iterdir())
    for name, what in OTHERS.items():
        if name in names:
            return f"found {name} ({what}), wanted weights for torch; convert them with transformers first."
    if "adapter_config.json" in names:
        return (
            "found adapter_config.json (PEFT); merge the adapter into its model first (merge_and_unload())."
        )
    alike = [each for each in names if re.search(r"\.(safetensors|bin|pt|pth|ckpt|onnx|nemo)$", each)]
    if alike:
        return f"found {', '.join(alike[:3])}; wanted that name, as transformers' save_pretrained writes it."
    return "no weights are there. Give the folder of a complete model."


def _shards(index: Path) -> list[Path]:
    """Return the files that an index names; each must exist in the folder of the index."""
    try:
        found: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(found.values()))
        fits = bool(names) and all(isinstance(each, str) for each in [*names, *found])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{index} is damaged: no weight_map can be read from it. Fetch it again.") from error
    if not fits:
        raise ModelError(f"{index} is damaged: its weight_map names no files. Fetch it again.")
    for name in names:
        if Path(name).name != name or name in (".", ".."):
            raise ModelError(f"{index} names the file {name!r}, wanted one in its own folder.")
        if not (index.parent / name).is_file():
            raise ModelError(f"{index} names {name}, which is not there. Fetch the missing shard.")
    return [index.parent / name for name in names]


def _of_files(files: Iterable[Path], pickled: bool) -> Stored:
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, torch.dtype] = {}
    for file in files:
        for name, shape, dtype in _pickled_header(file) if pickled else _header(file):
            if name in shapes:
                raise ModelError(
                    f"{file} holds {name}, which another shard holds too. Fetch the shards again."
                )
            shapes[name], dtypes[name] = shape, dtype
    if not shapes:
        raise ModelError(f"{files} hold no tensors. Fetch them again.")
    return Stored(shapes, dtypes, pickled)


def _header(file: Path) -> list[tuple[str, tuple[int, ...], torch.dtype]]:
    found = []
    try:
        with safe_open(str(file), "pt") as opened:
            names = opened.keys()  # it is no mapping: it has no __iter__
            for name in names:
                part = opened.get_slice(name)
                found.append((name, tuple(part.get_shape()), part.get_dtype()))
    except (SafetensorError, OSError, ValueError, OverflowError) as error:
        raise ModelError(_damaged(file, error)) from error
    return [(name, shape, _dtype(file, name, dtype)) for name, shape, dtype in found]


def _dtype(file: Path, name: str, stored: str) -> torch.dtype:
    if stored not in DTYPES:
        raise ModelError(
            f"{file}: {name} is stored as {stored}, wanted F32, F16, BF16 or F64: a quantised checkpoint "
            "cannot be pruned. Give the one that it was made from."
        )
    return DTYPES[stored]


def _pickled_header(file: Path) -> list[tuple[str, tuple[int, ...], torch.dtype]]:
    try:
        found = torch.load(file, map_location="meta", weights_only=True)
    except Exception as error:  # torch may raise any kind for a file that it did not write
        raise ModelError(_damaged(file, error)) from error
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in found.items()
    ):
        raise ModelError(
            f"{file}: wanted tensors by name, found other things. Write it with save_pretrained."
        )
    for name, value in found.items():
        if value.dtype not in DTYPES.values():
            raise ModelError(f"{file}: {name} is {value.dtype}, wanted floats: it is a quantised checkpoint.")
    return [(name, tuple(value.shape), value.dtype) for name, value in found.items()]


def _damaged(file: Path, error: Exception) -> str:
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            start = opened.read(len(LFS_POINTER))
    except OSError:
        return f"cannot read {file}: {' '.join(str(error).split())[:200]}."
    if start == LFS_POINTER:
        return f"{file} is a Git LFS pointer, not the weights: run `git lfs pull` in its folder."
    words = (" ".join(str(error).split()) or type(error).__name__)[:160].rstrip(".")
    return f"cannot load the weights {file} ({size:,} bytes): it is damaged ({words}). Fetch it again."


def canonical(name: str) -> str:
    """Return the name of a tensor in one spelling; weight norms and layer norms have an old and a new one."""
    for new, old in (
        (".parametrizations.weight.original0", ".weight_g"),
        (".parametrizations.weight.original1", ".weight_v"),
    ):
        name = name.replace(new, old)
    if name.endswith((".gamma", ".beta")):
        stem, _, leaf = name.rpartition(".")
        name = f"{stem}.{'weight' if leaf == 'gamma' else 'bias'}"
    return name
