"""Groups of options: a command takes a dataclass, and each field of it becomes an option."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import ParamSpec, TypeVar, get_type_hints

P = ParamSpec("P")
R = TypeVar("R")


def with_groups(command: Callable[P, R]) -> Callable[..., R]:
    """Replace every parameter of a command whose type is a dataclass by one option per field.

    A field has an annotation and a default like a parameter of a typer command: `Annotated[type,
    typer.Option(help=...)]`. The command is called with an instance of the dataclass made from the options.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if isinstance(kind, type) and is_dataclass(kind)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in groups:
            parameters += _parameters_of(groups[name])
        else:
            parameters.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def wrapped(**given: object) -> R:
        made = {
            name: kind(**{field.name: given.pop(field.name) for field in fields(kind)})
            for name, kind in groups.items()
        }
        act: Callable[..., R] = command
        return act(**given, **made)

    annotations = {each.name: each.annotation for each in parameters} | {"return": hints.get("return")}
    # typer reads this signature instead of the wrapper's own.
    vars(wrapped)["__signature__"] = inspect.Signature(parameters)
    wrapped.__annotations__ = annotations
    return wrapped


def _parameters_of(kind: type) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_default(field),
            annotation=hints[field.name],
        )
        for field in fields(kind)
    ]


def _default(field: "Field[object]") -> object:
    return inspect.Parameter.empty if field.default is MISSING else field.default
