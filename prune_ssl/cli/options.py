"""What the options of commands have in common: ranges, choices, and checks of what is to be written."""

import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer
from torch import nn

from prune_ssl.errors import ArtifactError, RecipeError
from prune_ssl.profiling import Timing
from prune_ssl.tracing import PruningGraph, trace
from prune_ssl.writing import check_place

LEAST_SECONDS, MOST_SECONDS = 0.025, 3_600.0
"""Of audio: one frame of a frontend, and an hour."""
MOST_THREADS, MOST_SEED, MOST = 1_024, 2**32 - 1, 1_000_000


def number(least: float, most: float, what: str = "a number") -> Callable[[float | None], float | None]:
    """Return the callback of an option that takes a finite number of a range; typer's own takes NaN."""

    def check(value: float | None) -> float | None:
        for each in value if isinstance(value, (list, tuple)) else [value]:
            if each is not None and not (math.isfinite(each) and least <= each <= most):
                raise typer.BadParameter(f"found {each:g}, wanted {what} from {least:g} to {most:g}.")
        return value

    return check


_audio = number(LEAST_SECONDS, MOST_SECONDS, "seconds of audio")

Seconds = Annotated[float, typer.Option(help="Audio length for the MACs.", callback=_audio)]
Lengths = Annotated[list[float] | None, typer.Option(help="Audio length; repeatable.", callback=_audio)]
Threads = Annotated[list[int] | None, typer.Option(help="CPU threads; repeatable.", min=1, max=MOST_THREADS)]
Seeds = Annotated[list[int] | None, typer.Option(help="Repeatable.", min=0, max=MOST_SEED)]


@dataclass(frozen=True)
class Timed:
    """How a command times models, by default on one thread."""

    seconds: Lengths = None
    threads: Threads = None

    @property
    def timing(self) -> Timing:
        """The timing that is asked for."""
        return Timing.of(Timing(threads=tuple(self.threads or (1,))), self.seconds or None)


def check_choice(option: str, given: str, wanted: Iterable[str]) -> str:
    """Return what was given to an option.

    Raises:
        RecipeError: it is none of the choices; the nearest is named.
    """
    known = list(wanted)
    if given in known:
        return given
    near = get_close_matches(given.lower(), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise RecipeError(f"{option}: found {given!r:.60}; {hint}wanted one of {', '.join(known)}.")


def traced(model: nn.Module, only: Sequence[str] | None, ignore: Sequence[str] | None) -> PruningGraph:
    """Return the graph of a model with the groups that two options choose.

    Raises:
        RecipeError: a pattern matches no group.
    """
    if not only and not ignore:
        return trace(model)
    names = trace(model).groups
    check_patterns("--only", only, names)
    check_patterns("--ignore", ignore, names)
    return trace(model, only=only or ("*",), ignore=ignore or ())


def check_patterns(option: str, patterns: Sequence[str] | None, groups: Iterable[str]) -> None:
    """Refuse a pattern that matches no group of a model, which would do nothing.

    Raises:
        RecipeError: it names the nearest groups.
    """
    names = list(groups)
    for pattern in patterns or ():
        if not any(fnmatchcase(name, pattern) for name in names):
            stem = pattern.replace("*", "").strip(".")
            near = [name for name in names if name.startswith(stem)] if stem else names
            near = near[:3] or get_close_matches(stem, names, n=3, cutoff=0.5) or names[:3]
            raise RecipeError(
                f"{option}: {pattern!r:.100} matches no group of the model; near are {', '.join(near)} "
                "(`prune-ssl trace MODEL` lists all)."
            )


def check_writable(paths: Sequence[Path] | None, suffixes: Sequence[str], overwrite: bool = False) -> None:
    """Refuse files that could not be written in the end, before any work is done.

    Raises:
        ArtifactError: a wrong suffix, a file that is there already, a folder in its place, or one that cannot
            be written to.
    """
    for path in paths or ():
        if path.suffix.lower() not in suffixes:
            raise ArtifactError(
                f"{path}: its suffix is {path.suffix!r}; wanted one of {', '.join(suffixes)}."
            )
        if path.is_dir():
            raise ArtifactError(f"{path} is a folder, wanted the name of a file.")
        if os.path.lexists(path) and not overwrite:
            raise ArtifactError(
                f"{path} exists already; nothing was written. Give another name, or --overwrite."
            )
        check_folder(path.parent)
        check_place(path)
    if len(set(paths or ())) < len(paths or ()):
        raise ArtifactError("the same file is to be written twice; give each once.")


def check_folder(folder: Path) -> None:
    """Refuse a folder that neither is there nor can be made, or in which nothing can be written.

    Raises:
        ArtifactError: it names the part of the path that is in the way.
    """
    there = next((part for part in (folder, *folder.parents) if os.path.lexists(part)), Path())
    if not there.is_dir():
        raise ArtifactError(f"{folder} cannot be made: {there} is a file. Give another folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ArtifactError(f"{folder}: {there} cannot be written to. Give another folder.")


def as_yaml(text: str | Path) -> str:
    """Return text as the value of an override, whatever characters it has."""
    return json.dumps(str(text), ensure_ascii=False)
