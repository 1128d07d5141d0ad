"""Finds the folder that a model's name means: on disk, in this package, or downloaded from the hub."""

from __future__ import annotations

import glob
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from huggingface_hub import HfApi, ModelInfo, constants, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from prune_ssl.assets import SHIPPED_MODELS
from prune_ssl.errors import ModelError

HUB_SECONDS = 4.0
"""The time in which the hub must answer what a repository holds."""
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HUB_NAME_LENGTH = 96
OTHER_WEIGHTS = (
    "*.bin",
    "*.bin.index.json",
    "*.h5",
    "*.msgpack",
    "*.onnx",
    "*.onnx_data",
    "*.ot",
    "*.pt",
    "*.pth",
    "*.ckpt",
)
"""The files that are not downloaded if the repository has safetensors."""


@dataclass(frozen=True)
class Place:
    """Where the files of a model lie."""

    name: str
    """The name as the caller gave it."""
    folder: Path
    root: Path
    """Links in the folder may point into this one; for a snapshot of the hub it is the repository's cache."""


def locate(source: str | Path) -> Place:
    """Return the folder of a model.

    Args:
        source: a folder, the name of a model of this package (`small_hubert`, `demo_model`), or ORG/NAME on
            the hub. The local cache serves if the hub cannot be reached.

    Raises:
        ModelError: there is neither. A name that cannot be on the hub is refused without asking the network.
    """
    name = str(source)
    if not name.strip():
        raise ModelError("a model's name is empty; give a model folder, or a hub name of the form ORG/NAME.")
    if "\0" in name:
        raise ModelError(f"{name!r} is no path; give a model folder, or a hub name of the form ORG/NAME.")
    try:
        path = Path(name).expanduser()
        is_folder, exists = path.is_dir(), path.exists()
    except (OSError, RuntimeError) as error:
        raise ModelError(
            f"{_short(name)} is no path that can be read: {error}. Give a model folder."
        ) from error
    if is_folder:
        return Place(name, path, _root_of(path))
    if exists:
        raise ModelError(f"{name} is a file, wanted a model folder; {_folder_of_file(path)}")
    if isinstance(source, str) and name in SHIPPED_MODELS:
        return Place(name, SHIPPED_MODELS[name], _root_of(SHIPPED_MODELS[name]))
    if not _may_be_on_hub(source, name):
        folder = _cached(name) if _is_single_name(source, name) else None
        if folder is None:
            raise ModelError(
                f"{_short(name)}: there is no such folder, and it is not a hub name of the form "
                f"ORG/NAME.{_nearest(path)}"
            )
        return Place(name, folder, _root_of(folder))
    folder = _from_hub(name, path)
    return Place(name, folder, _root_of(folder))


def _short(name: str) -> str:
    return name if len(name) <= 200 else f"{name[:200]}..."


def _may_be_on_hub(source: str | Path, name: str) -> bool:
    fits = HUB_NAME.fullmatch(name) is not None and len(name) <= HUB_NAME_LENGTH
    return isinstance(source, str) and fits and ".." not in name and "--" not in name


def _is_single_name(source: str | Path, name: str) -> bool:
    """Return whether a name may be one of the few old hub names without an organisation."""
    return isinstance(source, str) and re.fullmatch(r"[A-Za-z0-9][\w.-]*", name) is not None


def _root_of(folder: Path) -> Path:
    whole = folder.resolve()
    return whole.parent.parent if whole.parent.name == "snapshots" else whole


def _folder_of_file(path: Path) -> str:
    if (path.parent / "config.json").is_file():
        return f"give its folder {path.parent}."
    return "give the folder that holds config.json and the weights."


def _nearest(path: Path) -> str:
    """Return a sentence that proposes the folder or shipped model with the most similar name, or ""."""
    try:
        parent = path.parent
        while not parent.is_dir() and parent != parent.parent:
            path, parent = parent, parent.parent
        there = sorted(each.name for each in parent.iterdir() if each.is_dir())
    except OSError:
        return ""
    shipped = list(SHIPPED_MODELS) if path.parent == Path() else []
    near = get_close_matches(path.name, [*there, *shipped], n=1, cutoff=0.5)
    if near and near[0] in shipped and near[0] not in there:
        return f" Did you mean {near[0]}, a model of this package?"
    return f" Did you mean {parent / near[0]}?" if near else ""


def _cached(name: str) -> Path | None:
    """Return the snapshot in the local cache."""
    try:
        folder = Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError):  # every error of the hub is one of these
        return None
    return folder if (folder / "config.json").exists() else None


def _from_hub(name: str, path: Path) -> Path:
    problem = "the hub is switched off (HF_HUB_OFFLINE)"
    if not constants.HF_HUB_OFFLINE:
        found = _ask_hub(name)
        if isinstance(found, tuple):
            return _download(name, *found)
        problem = found
    folder = _cached(name)
    if folder is None:
        raise ModelError(
            f"{name}: there is no such folder, and as a hub name it cannot be had: {problem}; it is not in "
            f"the local cache either.{_nearest(path)}"
        )
    return folder


def _ask_hub(name: str) -> tuple[str, list[str]] | str:
    """Return the commit and the files of a repository, or why the hub did not say, within `HUB_SECONDS`."""
    found: list[ModelInfo | Exception] = []

    def ask() -> None:
        try:
            found.append(HfApi().model_info(name, timeout=HUB_SECONDS))
        except Exception as error:  # from the network, the proxy or the certificates
            found.append(error)

    asking = threading.Thread(target=ask, daemon=True)  # looking up a host has no time limit of its own
    asking.start()
    asking.join(HUB_SECONDS)
    if not found:
        return f"the hub gave no answer in {HUB_SECONDS:g} s"
    (answer,) = found
    if isinstance(answer, GatedRepoError):
        return "the repository is gated (ask for access there, then `hf auth login`)"
    if isinstance(answer, RepositoryNotFoundError):
        return "the hub has no such repository, or it is private"
    if isinstance(answer, Exception):
        return f"the hub cannot be reached ({' '.join(str(answer).split())[:120]})"
    return str(answer.sha), [str(each.rfilename) for each in answer.siblings or ()]


def _download(name: str, commit: str, files: list[str]) -> Path:
    """Download the files of a repository; of the weights only the safetensors, if there are any."""
    try:
        chosen = [glob.escape(each) for each in files_to_bring(files)]
        return Path(snapshot_download(name, revision=commit, allow_patterns=chosen))
    except Exception as error:  # from the network or the disk
        folder = _cached(name)
        if folder is not None:
            return folder
        words = " ".join(str(error).split())[:200]
        raise ModelError(f"{name}: bringing it from the hub failed: {words}. Try again.") from error


def files_to_bring(files: Iterable[str]) -> list[str]:
    """Return the files to download: those of the top folder and the language model, one format of weights."""
    every = [each for each in files if "/" not in each or each.startswith("language_model/")]
    if not any(re.fullmatch(r"model.*\.safetensors", each) for each in every):
        return every
    return [
        each for each in every if "/" in each or not any(Path(each).match(kind) for kind in OTHER_WEIGHTS)
    ]
