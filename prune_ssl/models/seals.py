"""Owns seals: a SHA-256 in the header of a safetensors file, by which a damaged file is recognised.

The seal stands in the file that it seals. A tool that trains the model and writes its weights again writes a
file without a seal, and no claim is made about that file.
"""

import hashlib
import json
from pathlib import Path
from typing import IO, cast

from prune_ssl.errors import ModelError
from prune_ssl.version import VERSION
from prune_ssl.writing import new_file

SEAL = "prune_ssl_sha256"
"""The key in the metadata of the header."""
LENGTH_BYTES = 8
CHUNK_BYTES = 2**22

Header = dict[str, dict[str, object]]
"""Tensor name -> dtype, shape and place; `__metadata__` -> texts."""


def seal(file: Path) -> None:
    """Write the version of the package and the digest of the content into a safetensors file's header.

    >>> from safetensors.torch import save_file
    >>> import torch
    >>> save_file({"a": torch.zeros(3)}, "a.safetensors")
    >>> seal(Path("a.safetensors"))
    >>> require_unbroken(Path("a.safetensors"))
    """
    with file.open("rb") as source:
        header = _header(source)
        metadata = header.get("__metadata__", {})
        digest = _digest(header, source)
        marks = {"prune_ssl_version": VERSION, "prune_format_version": "1", SEAL: digest}
        header = {"__metadata__": {**metadata, **marks}} | {
            name: fields for name, fields in header.items() if name != "__metadata__"
        }
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % LENGTH_BYTES)  # the tensors stay aligned
        source.seek(0)
        _header(source)
        with new_file(file) as new, new.open("wb") as target:
            target.write(len(text).to_bytes(LENGTH_BYTES, "little") + text)
            while chunk := source.read(CHUNK_BYTES):
                target.write(chunk)


def require_unbroken(file: Path) -> None:
    """Refuse a sealed safetensors file whose content has changed; a file without a seal passes.

    Raises:
        ModelError: the content does not fit the seal.
    """
    with file.open("rb") as source:
        header = _header(source)
        sealed = header.get("__metadata__", {}).get(SEAL)
        if sealed is not None and sealed != _digest(header, source):
            raise ModelError(
                f"{file} is damaged: its content is not the content that prune_ssl wrote (SHA-256). Copy or "
                "fetch the file again."
            )


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
