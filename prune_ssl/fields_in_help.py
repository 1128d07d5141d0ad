"""Put the docstrings of a class's fields into the docstring of the class, where `help()` shows them."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from typing import TypeVar

Class = TypeVar("Class", bound=type)


def with_fields(kind: Class) -> Class:
    """Add a section `Attributes` to a class's docstring, from the texts below its annotated fields.

    A class whose source cannot be read, as in a frozen program, stays as it is.

    >>> from prune_ssl.gating import PruningConfig
    >>> "budget: The cost to keep" in PruningConfig.__doc__
    True
    """
    lines = [f"    {name}: {text}" for name, text in _own_texts(kind)]
    if lines:
        kind.__doc__ = "\n".join([inspect.cleandoc(kind.__doc__ or ""), "", "Attributes:", *lines])
    return kind


def field_texts(kind: type) -> dict[str, str]:
    """Return the text below each annotated field of a class and of its bases, by name.

    >>> from prune_ssl.gating import PruningConfig
    >>> field_texts(PruningConfig)["rounds"]
    'The number of cuts of the iterative method.'
    """
    return {name: text for each in reversed(kind.__mro__) for name, text in _own_texts(each)}


def _own_texts(kind: type) -> Iterator[tuple[str, str]]:
    try:
        (found,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return
    body = found.body if isinstance(found, ast.ClassDef) else []
    for field, after in pairwise(body):
        named = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if named and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            yield field.target.id, " ".join(str(after.value.value).split())  # type: ignore[attr-defined]
