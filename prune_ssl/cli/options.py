"""Options that several commands share: ranges, choices, and checks of output files."""

import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prune_ssl.errors import ArtifactError, RecipeError
from prune_ssl.writing import check_place

if TYPE_CHECKING:
    from torch import nn

    from prune_ssl.profiling import Timing
    from prune_ssl.tracing import PruningGraph

LEAST_SECONDS, MOST_SECONDS = 0.025, 3_600.0
"""The shortest and the longest audio: one frame of a frontend, and an hour."""
MOST_THREADS, MOST_SEED, MOST = 1_024, 2**32 - 1, 1_000_000


def number(least: float, most: float, quantity: str = "a number") -> Callable[[float | None], float | None]:
    """Return a callback for an option that takes a finite number in a range. typer's own range takes NaN."""

    def check(value: float | None) -> float | None:
        for each in value if isinstance(value, (list, tuple)) else [value]:
            if each is not None and not (math.isfinite(each) and least <= each <= most):
                raise typer.BadParameter(f"found {each:g}, wanted {quantity} from {least:g} to {most:g}.")
        return value

    return check


_audio = number(LEAST_SECONDS, MOST_SECONDS, "seconds of audio")

Model = Annotated[str, typer.Argument(help="Model folder or hub name.")]
RecipeName = Annotated[
    str, typer.Argument(help="Recipe: a YAML file, or the name of a recipe of the package.")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Overrides of the recipe's keys: key.sub=value, any number.")
]
TargetColumns = Annotated[
    str | None,
    typer.Option("--target", help="Column or columns to predict. Default: those of the model's recipe."),
]
TrialList = Annotated[
    str | None, typer.Option("--trials", help="Verification: the trial list, relative to the corpus.")
]
Overwrite = Annotated[bool, typer.Option(help="Replace the output folder if it exists.")]
Seconds = Annotated[float, typer.Option(help="Audio length in seconds for the MACs.", callback=_audio)]
Lengths = Annotated[
    list[float] | None,
    typer.Option(help="Audio length in seconds; repeatable. Default: 1, 5 and 10.", callback=_audio),
]
Threads = Annotated[
    list[int] | None,
    typer.Option(help="CPU threads; repeatable. Default: 1.", min=1, max=MOST_THREADS),
]
Seeds = Annotated[
    list[int] | None,
    typer.Option(help="Seed; repeatable. Default: the recipe's.", min=0, max=MOST_SEED),
]


@dataclass(frozen=True)
class Timed:
    """Options for timing models, by default on one thread."""

    seconds: Lengths = None
    threads: Threads = None

    @property
    def timing(self) -> "Timing":
        """The timing of these options."""
        from prune_ssl.profiling import Timing

        return Timing.of(Timing(threads=tuple(self.threads or (1,))), self.seconds or None)


def check_choice(option: str, given: str, wanted: Iterable[str]) -> str:
    """Return the value of an option if it is one of the choices.

    Raises:
        RecipeError: the value is not one of the choices. The message names the nearest.

    >>> check_choice("--layout", "stock", ("hetero", "stock"))
    'stock'
    """
    known = list(wanted)
    if given in known:
        return given
    near = get_close_matches(given.lower(), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise RecipeError(f"{option}: found {given!r:.60}; {hint}wanted one of {', '.join(known)}.")


def traced(model: "nn.Module", only: Sequence[str] | None, ignore: Sequence[str] | None) -> "PruningGraph":
    """Return the graph of a model with the groups chosen by the options --only and --ignore.

    Raises:
        RecipeError: a pattern matches no group.
    """
    from prune_ssl.tracing import trace

    if not only and not ignore:
        return trace(model)
    names = trace(model).groups
    check_patterns("--only", only, names)
    check_patterns("--ignore", ignore, names)
    return trace(model, only=only or ("*",), ignore=ignore or ())


def check_patterns(option: str, patterns: Sequence[str] | None, groups: Iterable[str]) -> None:
    """Refuse a pattern that matches no group of a model, because it would have no effect.

    Raises:
        RecipeError: a pattern matches no group. The message names the nearest groups.
    """
    names = list(groups)
    for pattern in patterns or ():
        if not any(fnmatchcase(name, pattern) for name in names):
            stem = pattern.replace("*", "").strip(".")
            near = [name for name in names if name.startswith(stem)] if stem else names
            near = near[:3] or get_close_matches(stem, names, n=3, cutoff=0.5) or names[:3]
            raise RecipeError(
                f"{option}: {pattern!r:.100} matches no group of the model; similar ones: {', '.join(near)} "
                "(`prune-ssl trace MODEL` lists all)."
            )


def check_writable(paths: Sequence[Path] | None, suffixes: Sequence[str], overwrite: bool = False) -> None:
    """Refuse output files that cannot be written, before any work is done.

    Raises:
        ArtifactError: a file has a wrong suffix or exists already, a folder has its name, or its folder is
            not writable.
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
                f"{path} exists already, so nothing was written. Give another name, or --overwrite."
            )
        check_folder(path.parent)
        check_place(path)
    if len(set(paths or ())) < len(paths or ()):
        raise ArtifactError("the same output file is given twice: give each file once.")


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made or is not writable.

    Raises:
        ArtifactError: the folder is refused. The message names the part of the path that is the obstacle.
    """
    existing = next((part for part in (folder, *folder.parents) if os.path.lexists(part)), Path())
    if not existing.is_dir():
        raise ArtifactError(f"{folder} cannot be made: {existing} is a file. Give another folder.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ArtifactError(f"{folder}: {existing} is not writable. Give another folder.")


def as_yaml(text: str | Path) -> str:
    """Return a text as the value of an override, with quotes that protect all its characters.

    >>> as_yaml("a: b")
    '"a: b"'
    """
    return json.dumps(str(text), ensure_ascii=False)
