"""Owns seals: the SHA-256 of each file of weights, by which a damaged or exchanged file is recognised.

A seal stands in the header of the safetensors file that it seals, and config.json lists the seals of all
files of the folder. A tool that trains the model and writes its weights again writes files without a seal.
No claim is made about those. A folder in which only some files have a seal is refused.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, cast

from prune_ssl.errors import ModelError
from prune_ssl.models.config_checks import FORMAT_VERSION, SEALS_FIELD
from prune_ssl.version import VERSION
from prune_ssl.writing import new_file, write_text

SEAL, FORMAT = "prune_ssl_sha256", "prune_format_version"
"""Keys in the metadata of the header."""
LENGTH_BYTES = 8
CHUNK_BYTES = 2**22
ALIGNMENT = 64
"""The tensors of a sealed file start at a multiple of these bytes: a loaded tensor lies in memory as in the
file, and kernels round differently where it does not start at such a place."""
SEAL_LENGTH, SHOWN = 64, 12
"""Characters of a seal, and those that a message shows."""

Header = dict[str, dict[str, object]]
"""Tensor name -> dtype, shape and place; `__metadata__` -> texts."""


def marks(digest: str) -> dict[str, str]:
    """Return the texts that a seal adds to the metadata of a safetensors file.

    >>> sorted(marks("0" * 64))
    ['prune_format_version', 'prune_ssl_sha256', 'prune_ssl_version']
    """
    return {"prune_ssl_version": VERSION, FORMAT: str(FORMAT_VERSION), SEAL: digest}


def seal_folder(folder: Path) -> None:
    """Seal all safetensors files of a model's folder, and list the seals in its config.json if there is one.

    >>> from transformers import HubertConfig, HubertModel
    >>> config = HubertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    >>> HubertModel(config).save_pretrained("sealed")
    >>> seal_folder(Path("sealed"))
    >>> require_unbroken(Path("sealed"), [Path("sealed/model.safetensors")])
    """
    seals = {file.name: seal(file) for file in sorted(folder.glob("*.safetensors"))}
    config = folder / "config.json"
    if config.is_file():
        fields = json.loads(config.read_text(encoding="utf-8"))
        fields[SEALS_FIELD] = {FORMAT: FORMAT_VERSION, "version": VERSION, "sha256": seals}
        write_text(config, json.dumps(fields, indent=2, sort_keys=True) + "\n")


def seal(file: Path) -> str:
    """Write a seal and the versions into a safetensors file's header, and return the seal.

    >>> from safetensors.torch import save_file
    >>> import torch
    >>> save_file({"a": torch.zeros(3)}, "a.safetensors")
    >>> len(seal(Path("a.safetensors")))
    64
    """
    with file.open("rb") as source:
        header = _header(source)
        start = source.tell()
        digest = _digest(header, source)
        header = {"__metadata__": {**header.get("__metadata__", {}), **marks(digest)}} | {
            name: fields for name, fields in header.items() if name != "__metadata__"
        }
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-(LENGTH_BYTES + len(text)) % ALIGNMENT)
        with new_file(file) as new:
            source.seek(start)
            with new.open("wb") as target:
                target.write(len(text).to_bytes(LENGTH_BYTES, "little") + text)
                while chunk := source.read(CHUNK_BYTES):
                    target.write(chunk)
    return digest


def require_unbroken(folder: Path, files: Sequence[Path]) -> None:
    """Refuse sealed files whose content has changed, or that belong to another folder or a newer format.

    Each file is read once more, as fast as it can be hashed. Folders without seals pass.

    Args:
        folder: the folder of a model.
        files: its safetensors files; their headers are whole.

    Raises:
        ModelError: a file is not the one that was sealed for this folder.
    """
    listed = _listed(folder)
    with_seal = {file: found for file in files if (found := _seal_of(file)) is not None}
    for file in files:
        if with_seal and file not in with_seal:
            raise ModelError(
                f"{file} has no seal (SHA-256), but {next(iter(with_seal)).name} beside it has one: the "
                "shards are not of one model. Copy or fetch the folder again."
            )
    for file, digest in with_seal.items():
        if listed and listed.get(file.name) != digest:
            wanted = listed.get(file.name)
            raise ModelError(
                f"{file} belongs to another folder: found the seal {digest[:SHOWN]}..., wanted "
                f"{f'{wanted[:SHOWN]}...' if wanted else 'none'} (SHA-256, in config.json). Copy or fetch "
                "the folder again."
            )


def _seal_of(file: Path) -> str | None:
    """Return the seal of a file, or None if it has none.

    Raises:
        ModelError: the content does not fit the seal, or the format is newer than this package.
    """
    with file.open("rb") as source:
        header = _header(source)
        metadata = header.get("__metadata__", {})
        sealed = metadata.get(SEAL)
        if sealed is None:
            return None
        if metadata.get(FORMAT) != str(FORMAT_VERSION):
            raise ModelError(
                f"{file}: {FORMAT}: found {metadata.get(FORMAT)!r}, wanted '{FORMAT_VERSION}' (a newer "
                "prune_ssl may have written it). Install that version."
            )
        if sealed != _digest(header, source):
            raise ModelError(
                f"{file} is damaged: its content is not the content that prune_ssl wrote (SHA-256). Copy or "
                "fetch the file again."
            )
    return str(sealed)


def _listed(folder: Path) -> Mapping[str, str]:
    """Return the seals that config.json lists, by the names of the files."""
    config = folder / "config.json"
    fields = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    return cast(Mapping[str, str], fields.get(SEALS_FIELD, {}).get("sha256", {}))


def _header(source: IO[bytes]) -> Header:
    length = int.from_bytes(source.read(LENGTH_BYTES), "little")
    return cast(Header, json.loads(source.read(length)))


def _digest(header: Header, source: IO[bytes]) -> str:
    """Return the SHA-256 of the names and places of the tensors and of all bytes after the header."""
    tensors = {name: fields for name, fields in header.items() if name != "__metadata__"}
    digest = hashlib.sha256(json.dumps(tensors, sort_keys=True).encode())
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()
