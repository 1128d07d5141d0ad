"""Read the YAML of a recipe as plain data, with the line of each key and value."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from prune_ssl.errors import RecipeError

MOST_BYTES = 100_000
"""The longest recipe. Those that people write have a few thousand bytes."""
MOST_VALUES, MOST_LEVELS = 10_000, 20
PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map")}
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Found:
    """The data of a YAML text, with their lines."""

    data: Any
    lines: dict[Place, int] = field(default_factory=dict)
    """The line of each place, counted from 1."""
    texts: dict[Place, str] = field(default_factory=dict)
    """The text of each value as it is written, such as `no` for false."""


class _Loader(yaml.SafeLoader):
    """YAML without dates, octal numbers and base 60. Nobody means these in a recipe, so they stay text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (as the base class has it)
        first: [
            (tag, pattern)
            for tag, pattern in resolvers
            if not tag.endswith((":timestamp", ":int", ":float", ":merge", ":value"))
        ]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


class _Problem(Exception):
    """A value that cannot be read. The message names its line."""


def read_file(path: str | Path) -> Found:
    """Read a recipe's file. A byte order mark is skipped.

    Raises:
        RecipeError: the file cannot be read, is too long, is not UTF-8, or is not YAML of plain data.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # a null byte in the name raises ValueError
        words = getattr(error, "strerror", None) or error
        raise RecipeError(f"cannot read the recipe {str(path)!r}: {words}; wanted a YAML file.") from error
    if len(content) > MOST_BYTES:
        raise RecipeError(f"{path} is longer than {MOST_BYTES:,} bytes: wanted a recipe (YAML).")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise RecipeError(
            f"{path}, line {line}: not UTF-8 text (byte {content[error.start]:#04x}); wanted a recipe "
            "(YAML), saved as UTF-8."
        ) from error
    return read_text(text, str(path))


def read_text(text: str, where: str, joint: str = " is") -> Found:
    """Read YAML of plain data.

    Args:
        text: One YAML document.
        where: The name of the text in messages.
        joint: The words between that name and `not valid YAML`.

    Raises:
        RecipeError: the text is not YAML; it has tags, keys that are not text or that repeat, infinite
            numbers, or control characters; or it has more than 20 levels or (with its aliases filled in)
            more than 10,000 values.

    >>> read_text("steps: 100", "recipe").data
    {'steps': 100}
    """
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            found = Found(None)
            return Found(_Walk(loader, found).value(node, ()), found.lines, found.texts) if node else found
        finally:
            loader.dispose()
    except _Problem as problem:
        raise RecipeError(f"{where}, {problem}.") from problem
    except yaml.YAMLError as error:
        raise RecipeError(f"{where}{joint} not valid YAML ({_words(error)}).") from error
    except RecursionError as error:
        raise RecipeError(f"{where} is nested too deeply; wanted at most {MOST_LEVELS} levels.") from error


def _words(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    parts = [getattr(error, "context", None), getattr(error, "problem", None)]
    words = " ".join(" ".join(part for part in parts if part).split()) or " ".join(str(error).split())
    return f"{words[:300]}, line {mark.line + 1}, column {mark.column + 1}" if mark else words[:300]


class _Walk:
    """Turns nodes of YAML into data, and records the line of each."""

    def __init__(self, loader: _Loader, found: Found) -> None:
        self.loader, self.found, self.count = loader, found, 0

    def value(self, node: yaml.Node, place: Place) -> object:
        self.count += 1
        self.found.lines[place] = node.start_mark.line + 1
        if self.count > MOST_VALUES:
            raise self.problem(node, place, f"more than {MOST_VALUES:,} values with the aliases filled in")
        if len(place) > MOST_LEVELS:
            raise self.problem(node, (), f"nested too deeply; wanted at most {MOST_LEVELS} levels")
        if node.tag not in PLAIN:
            raise self.problem(
                node,
                place,
                f"found the tag {node.tag[:60]!r}; wanted text, a number, true, false, null, a list or keys",
            )
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each, (*place, index)) for index, each in enumerate(node.value)]
        return self.scalar(node, place)

    def mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, object]:
        made: dict[str, object] = {}
        for key, inner in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                shown = key.value if isinstance(key, yaml.ScalarNode) else "a list or mapping"
                raise self.problem(key, place, f"the key {shown!r:.60} is not text; put it in quotes")
            name = str(self.scalar(key, place))
            if name in made:
                before = self.found.lines[(*place, name)]
                raise self.problem(
                    key, place, f"the key {name!r:.60} stands on line {before} already; leave one out"
                )
            made[name] = self.value(inner, (*place, name))
        return made

    def scalar(self, node: yaml.Node, place: Place) -> object:
        try:
            made = self.loader.construct_object(node)
        except (ValueError, KeyError, OverflowError) as error:
            raise self.problem(node, place, f"cannot read {node.value!r:.60} as {node.tag[18:]}") from error
        if isinstance(made, float) and not math.isfinite(made):
            raise self.problem(node, place, f"found {node.value:.60}, wanted a finite number")
        if isinstance(made, str):
            control = CONTROL.search(made) or re.search("[\ud800-\udfff]", made)
            if control:
                raise self.problem(node, place, f"the text has the control character {control[0]!r}")
        self.found.texts[place] = node.value
        return made

    def problem(self, node: yaml.Node, place: Place, words: str) -> _Problem:
        name = ".".join(str(part) for part in place)[:100]
        return _Problem(f"line {node.start_mark.line + 1}: {name + ': ' if name else ''}{words}")
