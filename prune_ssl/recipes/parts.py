"""The base of all sections of a recipe: they extend configs of the package, and errors name their keys."""

import re
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any, ClassVar, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, WrapValidator
from pydantic_core import PydanticCustomError

from prune_ssl.errors import PruneError


class Dataclass(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Config = TypeVar("Config", bound=Dataclass)


class Part(BaseModel):
    """A section of a recipe. Unknown keys are refused, also in the dataclasses inside it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _with_place(value: object, read: Callable[[object], object]) -> object:
    """Read a section. If its config refuses a value ("warmup: found 2, ..."), blame the key it names."""
    try:
        return read(value)
    except PruneError as error:
        place, words = (), str(error).removesuffix(".")
        named = re.match(r"([a-z_]+(?:\.[a-z_0-9]+)*): (?=.)", words)
        if named and isinstance(value, dict) and named[1].partition(".")[0] in value:
            place, words = tuple(named[1].split(".")), words[named.end() :]
        problem = PydanticCustomError("value_error", "{words}", {"words": words})
        raise ValidationError.from_exception_data(
            "section", [{"type": problem, "loc": place, "input": value}]
        ) from None


PLACED = WrapValidator(_with_place)
"""The annotation of a section that is a config of the package: `Annotated[SomeConfig, PLACED]`."""


def config_of(section: object, kind: type[Config], **changes: object) -> Config:
    """Return the config of the package that a section extends.

    Args:
        section: An object with all fields of `kind`, and perhaps more.
        kind: The class of the config, a dataclass.
        changes: Values of fields that are not taken from the section.

    >>> from prune_ssl.data import StreamConfig, StreamSource
    >>> config_of(StreamSource(sample=10), StreamConfig, path="name/on-the-hub").sample
    10
    """
    names = [each.name for each in fields(kind) if each.init and each.name not in changes]
    given = {name: getattr(section, name) for name in names if hasattr(section, name)}
    return kind(**given | changes)
