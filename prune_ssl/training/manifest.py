"""Owns which checkpoints are whole: the list of files in each, finding the newest, dropping old ones."""

import hashlib
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from transformers.trainer_utils import sort_checkpoints

from prune_ssl.errors import ArtifactError, BudgetError
from prune_ssl.writing import remove, write_text

MANIFEST_FILE = "complete.json"
HASHED_BYTES = 64 * 2**20
"""Larger files are known by their size alone: to read gigabytes back would slow every checkpoint."""


def write_manifest(folder: Path) -> None:
    """List the files of a checkpoint, with size and SHA-256, in the file that is written last."""
    files = {
        str(path.relative_to(folder)): _facts(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }
    write_text(folder / MANIFEST_FILE, json.dumps({"files": files}, indent=1) + "\n")


def _facts(path: Path) -> dict[str, object]:
    size = path.stat().st_size
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if size <= HASHED_BYTES else None
    return {"bytes": size, "sha256": digest}


def damage(folder: Path) -> str | None:
    """Return the fault of a checkpoint, with the name of the file; None if it is whole."""
    path = folder / MANIFEST_FILE
    try:
        listed = json.loads(path.read_text())["files"].items()
        for name, wanted in listed:
            if not (folder / name).is_file():
                return f"{folder / name} is missing"
            found = _facts(folder / name)
            if found["bytes"] != wanted["bytes"]:
                return f"{folder / name} has {found['bytes']:,} bytes, wanted {wanted['bytes']:,}"
            if found != wanted:
                return f"the content of {folder / name} has changed"
    except FileNotFoundError:
        return f"{path} is missing"
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return f"{path} cannot be read ({' '.join(str(error).split())})"
    return None


def find_checkpoint(folder: Path, resume: str | bool | None) -> Path | None:
    """Return the checkpoint to resume from: the one that `resume` names, or for True the newest whole one.

    Raises:
        ArtifactError: the named checkpoint is damaged, or all of the folder are.
    """
    if not resume:
        return None
    if isinstance(resume, str):
        if (wrong := damage(Path(resume))) is not None:
            raise _damaged(wrong, "Give another checkpoint, or start anew.")
        return Path(resume)
    found = [Path(name) for name in reversed(sort_checkpoints(str(folder)))]
    wrongs = list[str]()
    for path in found:
        wrong = damage(path)
        if wrong is None:
            if wrongs:
                warnings.warn(f"{wrongs[0]}, so training goes on from {path}, which is older.", stacklevel=2)
            return path
        wrongs.append(wrong)
    if wrongs:
        raise _damaged(wrongs[0], f"Delete {found[0]} to train this phase anew.")
    return None


def drop_older(folder: Path, limit: int | None, best: str | None = None) -> None:
    """Delete the oldest checkpoints until `limit` are left; never the newest or the best one."""
    found = [Path(name) for name in sort_checkpoints(str(folder))]
    if limit is None or limit <= 0:
        return
    kept = {found[-1], *([] if best is None else [Path(best)])} if found else set()
    surplus = len(found) - max(limit, len(kept))
    for path in [path for path in found if path not in kept][: max(surplus, 0)]:
        remove(path)


@contextmanager
def naming_damage(file: Path) -> Iterator[None]:
    """Turn any error while a file of a checkpoint is read into one that names the file.

    Raises:
        ArtifactError: the file does not hold what this package writes there.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (
        AttributeError,
        BudgetError,
        EOFError,
        LookupError,
        OSError,
        RuntimeError,
        SafetensorError,
        TypeError,
        UnpicklingError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise _damaged(
            f"{file}: {reason}",
            f"If it is of this run and version, it is damaged: delete {file} to train this phase anew, or "
            "start the run anew with --overwrite.",
        ) from error


def _damaged(wrong: str, advice: str) -> ArtifactError:
    return ArtifactError(f"cannot resume: {wrong}. {advice}")
