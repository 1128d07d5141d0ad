"""Overrides from the command line, and messages for keys and values that a schema refuses."""

import types
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from difflib import SequenceMatcher, get_close_matches
from functools import cache
from typing import Annotated, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from prune_ssl.errors import RecipeError
from prune_ssl.recipes.yaml_text import Found, Place, read_text

MOST_ERRORS = 5
"""A message explains at most so many errors."""
Schema = type
"""The class of a section: a pydantic model or a dataclass."""
UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
NO_SECTION = ("model_type", "dataclass_type")


def apply_override(found: Found, override: str, schema: Schema) -> Place:
    """Set one key of the data by an override `key.sub=value`, whose value is YAML; return the key's place.

    Raises:
        RecipeError: the override has another form, its value is not YAML, or a part of its key is a value
            instead of a section.
    """
    key, equals, text = override.partition("=")
    names, shown = key.strip().split("."), _short(override)
    if not equals or not all(names):
        raise RecipeError(f"cannot read the override {shown}; wanted key.sub=value{_example(key, schema)}.")
    data = found.data
    for depth, name in enumerate(names[:-1]):
        if data.get(name) is None or data[name] is True:  # true: a section with its defaults
            data[name] = {}
        data = data[name]
        if not isinstance(data, dict):
            raise RecipeError(f"override {shown}: {'.'.join(names[: depth + 1])} is a value, not a section.")
    try:
        read = read_text(text, f"override {shown}", ":")
    except RecipeError as error:
        words = f"{str(error).removesuffix('.')}; put quotes around the value: {key}='\"...\"'."
        raise RecipeError(words) from error
    data[names[-1]] = read.data
    place: Place = tuple(names)
    for old in [each for each in found.texts if each[: len(place)] == place]:
        del found.texts[old]
    found.texts.update({(*place, *inner): said for inner, said in read.texts.items()})
    return place


def _example(key: str, schema: Schema) -> str:
    """Return an example such as `, as in pruning.steps=...` if the schema knows the key, else nothing."""
    words = key.replace(":", " ").split()
    known = all_keys(schema)
    same = [each for each in known if words and _leaf(each) == _leaf(words[0])]
    same = [each for each in same if each == words[0]] or same
    return f", as in {same[0]}=..." if same else ""


def explain(error: ValidationError, schema: Schema, found: Found, given: dict[Place, str]) -> str:
    """Return one line that explains why data were refused.

    Args:
        error: The error of pydantic.
        schema: The schema that refused the data.
        found: The data, and their lines in the file.
        given: The override that set each place.
    """
    errors = sorted(error.errors(), key=lambda each: each["type"] not in UNKNOWN)
    places = [each["loc"] for each in errors]
    errors = [
        each
        for each in errors  # a list that is too short only because its items are wrong is not a second error
        if each["type"] != "too_short"
        or not any(p != each["loc"] and p[: len(each["loc"])] == each["loc"] for p in places)
    ]
    words = [_explain(each, schema, found, given) for each in errors[:MOST_ERRORS]]
    return "; ".join(words + [f"and {len(errors) - MOST_ERRORS} more"] * (len(errors) > MOST_ERRORS))


def _explain(error: ErrorDetails, schema: Schema, found: Found, given: dict[Place, str]) -> str:
    place: Place = error["loc"]
    override = next((text for each, text in given.items() if place[: len(each)] == each), None)
    if error["type"] in UNKNOWN:
        return _unknown(place, schema, found, override)
    words = " ".join(str(error["msg"]).removeprefix("Value error, ").split())
    written = found.texts.get(_in_data(place))
    if error["type"] == "string_type" and written and not isinstance(error["input"], (list, dict)):
        words = (
            f'wanted text, found {written}, which YAML reads as {_kind(error["input"])}: write "{written}"'
        )
    elif error["type"] in NO_SECTION:
        words = f"wanted a section of keys, found {_short(error['input'])}"
    elif error["type"] not in ("missing", "value_error"):
        words += f", found {_short(error['input'])}"
    name = ".".join(str(part) for part in place)
    if name in ("dense", "dense.steps"):
        words += "; to prune a model that is already trained, leave dense out: dense=null"
    return f"{name + ': ' if name else ''}{words}{_where(place, found, override)}"


def _where(place: Place, found: Found, override: str | None) -> str:
    if override is not None:
        return f" (override {_short(override)})"
    line = found.lines.get(_in_data(place))
    return f" (line {line})" if line and place else ""


def _in_data(place: Place) -> Place:
    """Return a place without the names that pydantic adds inside a union: `int`, `literal['even']`."""
    added = ("]", ")", "int", "str", "float", "bool")
    return tuple(part for part in place if isinstance(part, int) or not part.endswith(added))


def _unknown(place: Place, schema: Schema, found: Found, override: str | None) -> str:
    """Explain an unknown key, and suggest the same key elsewhere, or a similar key here or elsewhere."""
    leaf, known, siblings = str(place[-1]), all_keys(schema), _keys_at(place[:-1], schema)
    value = "" if override is None else f"={override.partition('=')[2]}"
    same = [key for key in known if _leaf(key) == leaf]
    same = [key for key in same if _has_section(found.data, key)] or same
    near = get_close_matches(leaf, siblings, n=1, cutoff=0.6)
    far = get_close_matches(leaf, [_leaf(key) for key in known], n=1, cutoff=0.75)
    if near and far and _likeness(leaf, far[0]) < _likeness(leaf, near[0]) + 0.1:
        far = []
    if same:
        hint = " or ".join(f"{key}{value}" if value else repr(key) for key in same[:3])
    elif far:
        full = next(key for key in known if _leaf(key) == far[0])
        hint = f"{full}{value}" if value else repr(full)
    else:
        hint = repr(near[0]) if near else ""
    words = f"did you mean {hint}?" if hint else f"wanted one of {', '.join(siblings)}."
    return f"unknown key {_short('.'.join(map(str, place)))}; {words}{_where(place, found, override)}"


def _likeness(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()


def _leaf(key: str) -> str:
    return key.rpartition(".")[2]


def _has_section(data: object, key: str) -> bool:
    for name in key.split(".")[:-1]:
        data = data.get(name) if isinstance(data, dict) else None
    return isinstance(data, dict)


@cache
def all_keys(schema: Schema) -> tuple[str, ...]:
    """Return every key of a schema with its sections, such as `pruning.budget`. Outer keys come first."""
    return tuple(sorted(_keys(schema, ""), key=lambda key: key.count(".")))


def _keys(schema: Schema, prefix: str) -> Iterable[str]:
    for name, annotation in _fields_of(schema).items():
        yield prefix + name
        for inner in _sections_of(annotation):
            yield from _keys(inner, f"{prefix}{name}.")


@cache
def _fields_of(schema: Schema) -> dict[str, object]:
    """Return the keys of a section with their annotations."""
    if issubclass(schema, BaseModel):
        return {name: info.annotation for name, info in schema.model_fields.items()}
    hints, known = get_type_hints(schema), fields(schema) if is_dataclass(schema) else ()
    return {each.name: hints[each.name] for each in known if each.init}


def _sections_of(annotation: object) -> list[Schema]:
    """Return the classes of the sections that a key may hold."""
    if get_origin(annotation) is Annotated:
        return _sections_of(get_args(annotation)[0])
    if get_origin(annotation) in (types.UnionType, Union):
        return [section for each in get_args(annotation) for section in _sections_of(each)]
    if isinstance(annotation, type) and (issubclass(annotation, BaseModel) or is_dataclass(annotation)):
        return [annotation]
    return []


def _keys_at(place: Place, schema: Schema) -> list[str]:
    """Return the keys of the section at a place."""
    for name in place:
        schema = next(iter(_sections_of(_fields_of(schema).get(str(name)))), schema)
    return list(_fields_of(schema))


def _kind(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"the number {value!r:.40}"


def _short(given: object) -> str:
    shown = repr(given)
    return shown if len(shown) <= 100 else f"{shown[:80]}...{shown[-12:]}"
