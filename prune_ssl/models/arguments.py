"""What people give the public verbs: a model, a folder or a name; settings of the right types."""

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import nn

from prune_ssl.errors import ModelError, PruneError
from prune_ssl.models.loading import load_model

STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)
WORDS = {
    int: "a whole number",
    float: "a finite number",
    bool: "True or False",
    str: "text",
    NoneType: "None",
    Path: "a path",
}


def as_model(given: Any, verb: str) -> nn.Module:
    """Return the model that a public verb is given: itself, or what a folder or hub name holds (eval mode).

    Args:
        given: a module, a folder that holds one, or a name on the Hugging Face hub.
        verb: the function's name, for the message.

    Raises:
        ModelError: it is something else, or cannot be loaded.
    """
    if isinstance(given, nn.Module):
        return given
    if isinstance(given, str | Path):
        loaded: nn.Module = load_model(given).eval()
        return loaded
    raise ModelError(f"{verb}: found {shown(given)}, wanted a model, a model folder or a hub name.")


def as_own_model(given: Any, verb: str, why: str) -> nn.Module:
    """Return the model of a verb that changes it in place, which a folder or name cannot be.

    Raises:
        ModelError: it is no module.
    """
    if isinstance(given, str | Path):
        raise ModelError(
            f"{verb}: found the name {str(given)!r}, wanted the model itself, because {why}: "
            f"model = prune_ssl.load_model({str(given)!r}) gives it."
        )
    return as_model(given, verb)


def shown(value: Any) -> str:
    """Return a value as it is written, with its type, short enough for a message of one line."""
    if isinstance(value, nn.Module):
        return f"a {type(value).__name__}"
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def check_types(settings: Any, error: type[PruneError], but: tuple[str, ...] = ()) -> None:
    """Hold the fields of a frozen dataclass to their annotations, when it is made.

    Lists and ranges become tuples, numbers of numpy plain ones. Booleans are no numbers, text is no list, and
    NaN and infinity are nothing that can be set.

    Args:
        settings: the dataclass.
        error: what to raise.
        but: fields with a check of their own.

    Raises:
        PruneError: of the class `error`, with field, value and what is wanted.
    """
    cls: Any = type(settings)
    hints, adapters = _adapters(cls)
    for name, adapter in adapters.items():
        if name in but:
            continue
        value = _plain(getattr(settings, name))
        object.__setattr__(settings, name, value)
        try:
            adapter.validate_python(value)
        except ValidationError:
            raise error(f"{name}: found {shown(value)}, wanted {_words(hints[name])}.") from None


@cache
def _adapters(cls: type) -> tuple[dict[str, Any], dict[str, TypeAdapter[Any]]]:
    hints = get_type_hints(cls)
    return hints, {each.name: TypeAdapter(hints[each.name], config=STRICT) for each in fields(cls)}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | range):
        return tuple(map(_plain, value))
    return value


def _words(hint: Any) -> str:
    """Return what an annotation wants, in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_words, inner)))
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin is not None and issubclass(origin, Mapping):
        return f"a mapping of {_words(inner[0])} to {_words(inner[1])}"
    if origin is not None and inner:
        return f"a list of {' and '.join(dict.fromkeys(_words(each) for each in inner if each is not ...))}"
    return WORDS.get(hint, f"a {getattr(hint, '__name__', hint)}")
