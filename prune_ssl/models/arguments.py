"""Checks the arguments of the public verbs: a model, a folder or a name; settings of the right types."""

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import nn

from prune_ssl.errors import ModelError, PruneError
from prune_ssl.models.loading import load_model
from prune_ssl.models.optimised import is_optimised, refusal

STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)
WORDS: dict[object, str] = {
    int: "a whole number",
    float: "a finite number",
    bool: "True or False",
    str: "text",
    NoneType: "None",
    Path: "a path",
}


def as_model(given: object, verb: str) -> nn.Module:
    """Return the model that a public verb was given; one that a folder or hub name holds is in eval mode.

    Args:
        given: a module, a folder that holds one, or a name on the Hugging Face hub.
        verb: the function's name, for the message.

    Raises:
        ModelError: the argument is something else, the model cannot be loaded, or it is one that
            `optimize_for_inference` made.
    """
    if isinstance(given, nn.Module):
        if is_optimised(given):
            raise ModelError(refusal(verb))
        return given
    if isinstance(given, str | Path):
        loaded: nn.Module = load_model(given).eval()
        return loaded
    raise ModelError(f"{verb}: found {shown(given)}, wanted a model, a model folder or a hub name.")


def as_own_model(given: object, verb: str, why: str) -> nn.Module:
    """Return the model of a verb that changes it in place; a folder or a name is refused.

    Raises:
        ModelError: the argument is no module.
    """
    if isinstance(given, str | Path):
        raise ModelError(
            f"{verb}: found the name {str(given)!r}, wanted the model itself, because {why}: "
            f"model = prune_ssl.load_model({str(given)!r}) gives it."
        )
    return as_model(given, verb)


def shown(value: object) -> str:
    """Return a value as Python writes it, with its type, short enough for a message of one line."""
    if isinstance(value, nn.Module):
        return f"a {type(value).__name__}"
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def check_types(settings: object, error: type[PruneError], but: tuple[str, ...] = ()) -> None:
    """Check the fields of a frozen dataclass against their annotations; call it in `__post_init__`.

    Lists and ranges become tuples, and numbers of numpy become plain ones. A boolean is no number, a text is
    no list, and NaN and infinity are refused.

    Args:
        settings: the dataclass.
        error: the class of the error to raise.
        but: the fields that have a check of their own.

    Raises:
        PruneError: of the class `error`; it says the field, its value, and what is wanted.
    """
    cls: type = type(settings)
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
def _adapters(cls: type) -> tuple[dict[str, object], dict[str, TypeAdapter[object]]]:
    hints = get_type_hints(cls)
    return hints, {each.name: TypeAdapter(hints[each.name], config=STRICT) for each in fields(cls)}


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | range):
        return tuple(map(_plain, value))
    return value


def _words(hint: object) -> str:
    """Return an annotation in words, for a message."""
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
